"""Blocks: how a function is called with its inputs and context, and ``@block`` for functions in Python code."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from .errors import LocalProtocolError

__all__ = ["Bin", "Binding", "Block", "Var", "bind", "block"]

_CONTEXT_NAMES: Final = ("ctx", "context")
_TRANSPARENT: Final = (typing.Union, types.UnionType, typing.Annotated, typing.Required, typing.NotRequired)
_BODY_WORD: Final = re.compile(r"\bBody\b")
_ALLOWED = "a block is main(), main(inputs), main(ctx: Context), or main(inputs, ctx)"


class Var:
    """Marks a handle whose values stay in the process: ``Annotated[DataFrame, Var]``."""


class Bin:
    """Marks a handle whose values are bytes: ``Annotated[bytes, Bin]``."""


# ---------------------------------------------------------------------- binding


@dataclasses.dataclass(frozen=True, slots=True)
class Binding:
    """A function and how it takes its inputs and its context. Call it with both."""

    fn: Callable[..., Any]
    is_async: bool
    positional: tuple[str, ...]
    """``inputs`` and ``ctx`` in the order of the parameters."""
    keywords: Mapping[str, str]
    """Keyword-only parameters and which of the two each takes."""
    inputs_type: type | None = None
    """A dataclass to be made of the inputs."""
    bodies: frozenset[str] = frozenset()
    """Inputs that arrive as a ``Body``: as a file instead of in memory."""

    def __call__(self, inputs: Mapping[str, Any], ctx: object) -> Any:
        given: dict[str, object] = {"inputs": inputs, "ctx": ctx}
        if self.inputs_type is not None:
            given["inputs"] = self.inputs_type(**inputs)
        return self.fn(
            *(given[each] for each in self.positional), **{name: given[each] for name, each in self.keywords.items()}
        )


def bind(fn: Callable[..., Any]) -> Binding:
    """Work out how to call a block's function, from its parameters and their resolved annotations.

    Raises ``LocalProtocolError`` for a signature that can't be called with inputs and context.
    """
    if inspect.isasyncgenfunction(_innermost(fn)) or inspect.isgeneratorfunction(_innermost(fn)):
        raise LocalProtocolError(f"{_name(fn)} is a generator; send values with ctx.output and return a dict or None")
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"{_name(fn)} can't be called as a block: {error}; {_ALLOWED}") from error
    hints = _hints(fn)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    order = _positional(fn, positional, hints, star)
    keywords = _keywords(fn, parameters, hints, order)
    inputs_name = next((p.name for p, what in zip(positional, order, strict=False) if what == "inputs"), "inputs")
    annotation = hints.get(inputs_name)
    inputs_type = annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None
    return Binding(fn, _is_async(fn), order, keywords, inputs_type, _bodies(annotation))


def _positional(
    fn: Callable[..., Any], parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any], star: bool
) -> tuple[str, ...]:
    required = [p for p in parameters if p.default is p.empty]
    if len(required) > 2:
        names = ", ".join(p.name for p in required)
        raise LocalProtocolError(f"{_name(fn)} needs {len(required)} arguments ({names}); {_ALLOWED}")
    taken = list(parameters[:2])
    if len(required) == 1 and len(taken) == 2 and not _takes_context(taken[1], hints):
        # The second one has a default and is no context: it is the author's own.
        taken = taken[:1]
    if not required and taken and not any(_takes_context(p, hints) or p.name == "inputs" for p in taken):
        taken = []
    if not taken:
        return ("inputs", "ctx") if star else ()
    if len(taken) == 1:
        return ("ctx",) if _takes_context(taken[0], hints) else ("inputs", *(("ctx",) if star else ()))
    return ("ctx", "inputs") if _is_context(hints.get(taken[0].name)) else ("inputs", "ctx")


def _keywords(
    fn: Callable[..., Any],
    parameters: Sequence[inspect.Parameter],
    hints: Mapping[str, Any],
    order: tuple[str, ...],
) -> dict[str, str]:
    keywords: dict[str, str] = {}
    for parameter in parameters:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        if _takes_context(parameter, hints) and "ctx" not in order:
            keywords[parameter.name] = "ctx"
        elif parameter.name == "inputs" and "inputs" not in order:
            keywords[parameter.name] = "inputs"
        elif parameter.default is parameter.empty:
            raise LocalProtocolError(f"{_name(fn)}: nobody gives its argument {parameter.name!r}; {_ALLOWED}")
    return keywords


def _takes_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    # An annotation that says nothing leaves it to the name.
    hint = hints.get(parameter.name, Any)
    return parameter.name in _CONTEXT_NAMES if hint in (Any, object) else _is_context(hint)


def _is_context(hint: Any) -> bool:
    """Tell whether an annotation means the context, without importing it."""
    if isinstance(hint, str):
        return hint.strip("'\" ").rpartition(".")[2] in ("Context", "SyncContext")
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_context(part) for part in typing.get_args(hint))
    return bool(getattr(hint, "__asyncblock_context__", False))


def _bodies(inputs: Any) -> frozenset[str]:
    """Return the fields of a TypedDict or dataclass that are annotated as ``Body``."""
    if not (typing.is_typeddict(inputs) or (isinstance(inputs, type) and dataclasses.is_dataclass(inputs))):
        return frozenset()
    return frozenset(name for name, kind in _hints(inputs).items() if _is_body(kind))


def _is_body(kind: Any) -> bool:
    """Tell whether an annotation means ``Body``, perhaps among others, without importing it."""
    if isinstance(kind, typing.ForwardRef):
        kind = kind.__forward_arg__
    if isinstance(kind, str):
        # Not resolved, for something beside it is imported for typing only.
        return _BODY_WORD.search(kind) is not None
    if typing.get_origin(kind) in _TRANSPARENT:
        return any(map(_is_body, typing.get_args(kind)))
    return bool(getattr(kind, "__asyncblock_body__", False))


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return resolved annotations; those that can't be resolved (imported for typing only) stay text."""
    target = _innermost(fn)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # any name, attribute or syntax may fail in an annotation that nothing evaluates
        return dict(getattr(target, "__annotations__", {}))


def _innermost(fn: Callable[..., Any]) -> Any:
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif hasattr(fn, "__wrapped__"):
            fn = fn.__wrapped__
        elif not inspect.isroutine(fn) and not isinstance(fn, type) and callable(fn):
            fn = type(fn).__call__
        else:
            return fn


def _is_async(fn: Callable[..., Any]) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(_innermost(fn)):
        return True
    return not inspect.isroutine(fn) and inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(_innermost(fn), "__qualname__", fn))


# ---------------------------------------------------------------------- @block


class Block:
    """A function that is a block. Made by ``@block``; calling it calls the function, so that it can be tested alone."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        inputs: Sequence[Mapping[str, Any]] | None = None,
        outputs: Sequence[Mapping[str, Any]] | None = None,
        retries: int = 0,
        backoff: float = 1.0,
        not_retried: Sequence[type[BaseException] | str] = (),
        release: Literal["finish", "stream"] = "finish",
        description: str = "",
    ) -> None:
        functools.update_wrapper(self, fn)
        binding = bind(fn)
        self.sync = not binding.is_async
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", "block"))
        self.entry = str(getattr(fn, "__module__", "__main__"))
        self.function = str(getattr(fn, "__qualname__", self.name))
        self.package = f"python:{self.entry}"
        self.hash = _source_hash(fn)
        self.inputs_def: Sequence[Mapping[str, Any]] | None = (
            _given(inputs) if inputs is not None else _inputs_of(fn, binding)
        )
        self.outputs_def: Sequence[Mapping[str, Any]] | None = (
            _given(outputs) if outputs is not None else _outputs_of(fn)
        )
        self.description = description or (inspect.getdoc(fn) or "").partition("\n")[0]
        self.retries: Mapping[str, Any] | None = None
        if retries:
            names = [each if isinstance(each, str) else each.__name__ for each in not_retried]
            how = {} if release == "finish" else {"release": release}
            self.retries = {"retries": retries, "backoff": backoff, "not_retried": names, **how}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<block {self.entry}:{self.function}>"


@typing.overload
def block(fn: Callable[..., Any]) -> Block: ...


@typing.overload
def block(
    *,
    name: str | None = ...,
    inputs: Sequence[Mapping[str, Any]] | None = ...,
    outputs: Sequence[Mapping[str, Any]] | None = ...,
    retries: int = ...,
    backoff: float = ...,
    not_retried: Sequence[type[BaseException] | str] = ...,
    release: Literal["finish", "stream"] = ...,
    description: str = ...,
) -> Callable[[Callable[..., Any]], Block]: ...


def block(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    inputs: Sequence[Mapping[str, Any]] | None = None,
    outputs: Sequence[Mapping[str, Any]] | None = None,
    retries: int = 0,
    backoff: float = 1.0,
    not_retried: Sequence[type[BaseException] | str] = (),
    release: Literal["finish", "stream"] = "finish",
    description: str = "",
) -> Block | Callable[[Callable[..., Any]], Block]:
    """Make a block of a function; with or without arguments.

    Handles are read from annotations: a ``TypedDict`` or dataclass for the inputs and for the return value has one
    handle for each field. ``Annotated[T, Var]``, and types that JSON can't carry, stay in the process; ``bytes`` travel
    raw, and arrive as a file where the input is annotated ``Body``. ``inputs`` and ``outputs`` (lists of handle
    definitions) override what is read. ``retries`` is how often a failed job is tried again, ``backoff`` the seconds
    before the second attempt (doubled each time), ``not_retried`` the exceptions that end the job at once. Outputs of a
    block with retries go downstream when an attempt has finished,
    so each comes from one attempt; with ``release="stream"`` they go as they come, at least once.
    """

    def make(fn: Callable[..., Any]) -> Block:
        return Block(
            fn,
            name=name,
            inputs=inputs,
            outputs=outputs,
            retries=retries,
            backoff=backoff,
            not_retried=not_retried,
            release=release,
            description=description,
        )

    return make if fn is None else make(fn)


def _given(defs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(each) for each in defs]


def _source_hash(fn: Callable[..., Any]) -> str:
    """Hash the file that the function stands in, or its code where there is no file (a prompt, a notebook)."""
    target = _innermost(fn)
    try:
        source = Path(inspect.getsourcefile(target) or "").read_bytes()
    except (OSError, TypeError):
        source = getattr(getattr(target, "__code__", None), "co_code", repr(target).encode())
    name = f"{target.__module__}:{target.__qualname__}:".encode()
    return hashlib.sha256(name + source).hexdigest()


def _inputs_of(fn: Callable[..., Any], binding: Binding) -> list[dict[str, Any]] | None:
    hints = _hints(fn)
    for name in inspect.signature(fn).parameters:
        defs = _fields_of(hints.get(name))
        if defs is not None and not _is_context(hints.get(name)):
            return defs
    return [] if "inputs" not in (*binding.positional, *binding.keywords.values()) else None


def _outputs_of(fn: Callable[..., Any]) -> list[dict[str, Any]] | None:
    defs = _fields_of(_hints(fn).get("return"))
    for each in defs or ():
        each.pop("value", None)
    return defs


def _fields_of(hint: Any) -> list[dict[str, Any]] | None:
    """Return a handle definition for each field of a TypedDict or dataclass; None for anything else."""
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        optional: frozenset[str] = hint.__optional_keys__
        return [_handle(name, kind, nullable=name in optional) for name, kind in hints.items()]
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        defs = []
        for field in dataclasses.fields(hint):
            each = _handle(field.name, hints[field.name])
            if field.default is not dataclasses.MISSING:
                each["value"] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                each["value"] = field.default_factory()
            defs.append(each)
        return defs
    return None


_SCHEMAS: Final[dict[Any, dict[str, Any]]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    list: {"type": "array"},
    dict: {"type": "object"},
    bytes: {"contentMediaType": "oomol/bin"},
    Any: {},
    object: {},
}


def _handle(name: str, kind: Any, *, nullable: bool = False) -> dict[str, Any]:
    handle: dict[str, Any] = {"handle": name}
    while typing.get_origin(kind) in (typing.Required, typing.NotRequired):
        # Where annotations are text, __optional_keys__ doesn't know.
        nullable = nullable or typing.get_origin(kind) is typing.NotRequired
        kind = typing.get_args(kind)[0]
    schema, nothing = _schema(kind)
    if schema:
        handle["json_schema"] = schema
    if nullable or nothing:
        handle["nullable"] = True
    return handle


def _schema(kind: Any) -> tuple[dict[str, Any], bool]:
    """Return the JSON schema of a type and whether it may be None."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        if Var in args or any(isinstance(each, Var) for each in args):
            return {"contentMediaType": "oomol/var"}, False
        if Bin in args or any(isinstance(each, Bin) for each in args):
            return {"contentMediaType": "oomol/bin"}, False
        return _schema(args[0])
    if origin in (typing.Union, types.UnionType):
        kinds = [each for each in args if each is not type(None)]
        nothing = len(kinds) < len(args)
        return (_schema(kinds[0])[0] if len(kinds) == 1 else {}), nothing
    if origin is Literal:
        return {"enum": list(args)}, None in args
    plain = origin or kind
    if getattr(plain, "__asyncblock_body__", False):
        return {"contentMediaType": "oomol/bin"}, False
    if plain in _SCHEMAS:
        return dict(_SCHEMAS[plain]), False
    if typing.is_typeddict(plain) or (isinstance(plain, type) and dataclasses.is_dataclass(plain)):
        return {"type": "object"}, False
    if isinstance(plain, type) and issubclass(plain, (Mapping, Sequence)):
        return {"type": "object" if issubclass(plain, Mapping) else "array"}, False
    # A class of the author's, a DataFrame: JSON can't carry it.
    return ({"contentMediaType": "oomol/var"} if isinstance(plain, type) else {}), False
