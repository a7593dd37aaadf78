"""The kinds of other libraries: attrs, msgspec, pydantic. None is imported: what is asked is the class at hand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from .hints import hints_of, takes_none
from .kinds import MISSING, Declared, Field, Fitter, Maker, Misfit, register
from .ours import constructor, filled, told

__all__: list[str] = []


class _Attrs:
    def owns(self, cls: Any) -> bool:
        return "__attrs_attrs__" in vars(cls)

    def fields(self, cls: Any) -> list[Field]:
        hints = hints_of(cls)
        return [self._field(each, hints) for each in cls.__attrs_attrs__ if each.init]

    def given(self, cls: Any) -> list[Field]:
        hints = hints_of(cls)
        return [Field(_alias(each), hints.get(each.name, Any)) for each in cls.__attrs_attrs__]

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        return filled(self.fields(cls), fitting, constructor(cls))

    def values(self, value: Any) -> dict[str, Any]:
        return {_alias(each): getattr(value, each.name) for each in value.__attrs_attrs__}

    @staticmethod
    def _field(attribute: Any, hints: Mapping[str, Any]) -> Field:
        # What a converter takes is its own affair; the annotation says what it gives.
        kind = hints.get(attribute.name, Any) if attribute.converter is None else Any
        default = attribute.default
        if default is sys.modules["attr"].NOTHING:
            return told(_alias(attribute), kind)
        if hasattr(default, "takes_self"):
            made_anew = default.factory if not default.takes_self else object
            return told(_alias(attribute), kind, factory=made_anew)
        return told(_alias(attribute), kind, default)


def _alias(attribute: Any) -> str:
    return str(getattr(attribute, "alias", None) or attribute.name.lstrip("_"))


def _hidden(fields: Iterable[Field]) -> set[str]:
    """Return the fields that aren't given where null came: it is what comes for an input that nothing feeds."""
    return {each.name for each in fields if each.optional and each.default is MISSING and not takes_none(each.kind)}


class _Structs:
    """Classes of msgspec, which checks and converts all the way down."""

    def owns(self, cls: Any) -> bool:
        return hasattr(cls, "__struct_fields__") and hasattr(cls, "__struct_config__")

    def fields(self, cls: Any) -> list[Field]:
        msgspec = sys.modules["msgspec"]
        return [self._field(each, msgspec.NODEFAULT) for each in msgspec.structs.fields(cls)]

    def given(self, cls: Any) -> list[Field]:
        return [Field(each.name, each.kind) for each in self.fields(cls)]

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        msgspec = sys.modules["msgspec"]
        fields = self.fields(cls)
        hidden = _hidden(fields)

        def make(values: Mapping[str, Any], declared: Declared | None = None) -> Any:
            missing = [(each.name, "missing") for each in fields if not each.optional and each.name not in values]
            if missing:
                raise Misfit(missing)
            given = {name: value for name, value in values.items() if value is not None or name not in hidden}
            try:
                return msgspec.convert(given, cls)
            except msgspec.ValidationError as error:
                raise Misfit([_of_path(str(error))]) from error

        return make

    def values(self, value: Any) -> dict[str, Any]:
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        return {encoded: getattr(value, name) for name, encoded in names}

    @staticmethod
    def _field(field: Any, no_default: Any) -> Field:
        default = MISSING if field.default is no_default else field.default
        factory = None if field.default_factory is no_default else field.default_factory
        return told(field.encode_name, field.type, default, factory)


_PATH: Final = re.compile(r"(.*) - at `(?:key in )?\$\.?(.*)`", re.DOTALL)


def _of_path(words: str) -> tuple[str, str]:
    found = _PATH.fullmatch(words)
    return ("", words) if found is None else (found[2].replace("`", ""), found[1].replace("`", ""))


class _Models:
    """Models and dataclasses of pydantic, which checks and converts all the way down."""

    def owns(self, cls: Any) -> bool:
        return hasattr(cls, "__pydantic_validator__") and hasattr(cls, "__pydantic_fields__")

    def fields(self, cls: Any) -> list[Field]:
        found: Mapping[str, Any] = cls.__pydantic_fields__
        return [self._field(name, each) for name, each in found.items() if each.init is not False]

    def given(self, cls: Any) -> list[Field]:
        found = [Field(_shown_as(name, each), _kind(each)) for name, each in cls.__pydantic_fields__.items()]
        return found + [Field(_shown_as(name, each), each.return_type) for name, each in _computed(cls).items()]

    def maker(self, cls: Any, fitting: Fitter) -> Maker:
        hidden = _hidden(self.fields(cls))

        def make(values: Mapping[str, Any], declared: Declared | None = None) -> Any:
            given = {name: value for name, value in values.items() if value is not None or name not in hidden}
            try:
                return cls.__pydantic_validator__.validate_python(given)
            except ValueError as error:
                told = getattr(error, "errors", None)
                if told is None:
                    raise
                # Without the values: one that is a secret would be cut, and not be known any more.
                found = told(include_url=False, include_context=False, include_input=False)
                raise Misfit([(_place(each["loc"]), str(each["msg"])) for each in found]) from error

        return make

    def values(self, value: Any) -> dict[str, Any]:
        cls = type(value)
        named = {**cls.__pydantic_fields__, **_computed(cls)}
        found = {_shown_as(name, each): getattr(value, name) for name, each in named.items()}
        return {**found, **(getattr(value, "__pydantic_extra__", None) or {})}

    @staticmethod
    def _field(name: str, info: Any) -> Field:
        name = _taken_as(name, info)
        if info.is_required():
            return told(name, _kind(info))
        if info.default_factory is not None:
            return told(name, _kind(info), factory=info.default_factory)
        return told(name, _kind(info), info.default)


def _kind(info: Any) -> Any:
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _computed(cls: Any) -> Mapping[str, Any]:
    decorators = getattr(cls, "__pydantic_decorators__", None)
    computed = getattr(decorators, "computed_fields", {})
    return {name: each.info for name, each in computed.items()}


def _taken_as(name: str, info: Any) -> str:
    alias = info.validation_alias
    choices = getattr(alias, "choices", [alias])
    return next((each for each in choices if isinstance(each, str)), name)


def _shown_as(name: str, info: Any) -> str:
    return getattr(info, "serialization_alias", None) or info.alias or name


def _place(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


register(_Attrs())
register(_Structs())
# Last, so first: its dataclasses are Python's, too.
register(_Models())
