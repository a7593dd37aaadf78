"""Blocks: how a function is called with its inputs and context, and ``@block`` for functions in Python code."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar

from .blockcode.enclosed import words_of
from .blockcode.identity import module_digest, syntax_digest
from .errors import InvalidInputs, LocalProtocolError
from .resources import needs_of, needs_problem
from .shapes import Field, Misfit, Shape, shape_of
from .shapes.hints import hints_of, innermost, names_around, plain, seen_from, takes_none, without_none
from .shapes.kinds import MISSING, Declared, kind_of

__all__ = ["AnyBlock", "Bin", "Binding", "Block", "Var", "bind", "block", "is_async"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_CONTEXT_NAMES: Final = ("ctx", "context")
_TRANSPARENT: Final = (typing.Union, types.UnionType, typing.Annotated, typing.Required, typing.NotRequired)
_BODY_WORD: Final = re.compile(r"\bBody\b")
_ALLOWED = "a block is main(), main(inputs), main(ctx: Context), or main(inputs, ctx)"


class Var:
    """Marks a handle whose values stay in the process: ``Annotated[DataFrame, Var]``."""

    __asyncblock_var__ = True


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
    shape: Shape | None = None
    """The class that annotates the inputs: one is made of them."""
    result: Shape | None = None
    """The class that annotates what is returned."""
    bodies: frozenset[str] = frozenset()
    """Inputs that arrive as a ``Body``: as a file instead of in memory."""
    own_loop: bool = False
    """It runs an event loop in the job's thread, and may wait there as long as a coroutine does."""
    ended: Callable[[], None] | None = None
    """Called when the session is over that it was loaded for."""

    def __call__(self, inputs: Mapping[str, Any], ctx: object) -> Any:
        return self.call(self.shaped(inputs), ctx)

    def shaped(self, inputs: Mapping[str, Any], declared: Declared | None = None) -> Any:
        """Make of the inputs what the function takes. May run the author's code, and long where they are large.

        ``declared`` are the definitions of the handles.

        Raises ``InvalidInputs`` with everything that doesn't fit.
        """
        if self.shape is None:
            return inputs
        try:
            return self.shape.make(inputs, declared)
        except Misfit as misfit:
            raise self._invalid(misfit) from misfit.__cause__

    def call(self, inputs: Any, ctx: object) -> Any:
        """Call the function with inputs that are made."""
        if self.positional == ("inputs", "ctx") and not self.keywords:
            # As most are written.
            return self.fn(inputs, ctx)
        given: dict[str, object] = {"inputs": inputs, "ctx": ctx}
        return self.fn(
            *(given[each] for each in self.positional), **{name: given[each] for name, each in self.keywords.items()}
        )

    def _invalid(self, misfit: Misfit) -> InvalidInputs:
        assert self.shape is not None
        problems: dict[str, str] = {}
        for place, words in misfit.problems:
            name = re.split(r"[.\[]", place, maxsplit=1)[0]
            within = place[len(name) :].lstrip(".")
            said = f"at {within}: {words}" if within else words
            problems[name] = f"{problems[name]}; {said}" if name in problems else said
        told = "; ".join(f"input {name!r}: {words}" if name else words for name, words in problems.items())
        who = f"the inputs of {_name(self.fn)} don't make a {self.shape.name}"
        return InvalidInputs(f"{who}: {told}", problems=problems)


def bind(fn: Callable[..., Any]) -> Binding:
    """Work out how to call a block's function, from its parameters and their resolved annotations.

    Raises ``LocalProtocolError`` for a signature that can't be called with inputs and context.
    """
    if inspect.isasyncgenfunction(innermost(fn)) or inspect.isgeneratorfunction(innermost(fn)):
        raise LocalProtocolError(f"{_name(fn)} is a generator; send values with ctx.output and return a dict or None")
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"{_name(fn)} can't be called as a block: {error}; {_ALLOWED}") from error
    around = names_around(innermost(fn))
    with seen_from(around):
        hints = hints_of(innermost(fn))
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    star = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    order = _positional(fn, positional, hints, star)
    keywords = _keywords(fn, parameters, hints, order)
    inputs_name = next((p.name for p, what in zip(positional, order, strict=False) if what == "inputs"), "inputs")
    shape = shape_of(hints.get(inputs_name), around) if "inputs" in (*order, *keywords.values()) else None
    result = shape_of(hints.get("return"), around)
    return Binding(fn, is_async(fn), order, keywords, shape, result, _bodies(shape))


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
            words = f"argument {parameter.name!r} has no default and is neither inputs nor ctx"
            raise LocalProtocolError(f"{_name(fn)}: {words}; {_ALLOWED}")
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


def _bodies(shape: Shape | None) -> frozenset[str]:
    """Return the fields that are annotated as ``Body``."""
    return frozenset(each.name for each in shape.fields if _is_body(each.kind)) if shape is not None else frozenset()


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


def is_async(fn: Callable[..., Any]) -> bool:
    """Tell whether a function is a coroutine function, beneath partials and objects that can be called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(innermost(fn)):
        return True
    return not inspect.isroutine(fn) and inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(innermost(fn), "__qualname__", fn))


# ---------------------------------------------------------------------- @block


class AnyBlock:
    """A block of whatever function: what blocks of different types have in common."""

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
        cache: bool | Mapping[str, Any] | None = None,
        recompute: bool = False,
        needs: Mapping[str, Any] | None = None,
        description: str = "",
    ) -> None:
        functools.update_wrapper(self, fn)
        self.binding = binding = bind(fn)
        self.sync = not binding.is_async
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", "block"))
        self.entry = str(getattr(fn, "__module__", "__main__"))
        self.function = str(getattr(fn, "__qualname__", self.name))
        self.package = f"python:{self.entry}"
        self.hash = _source_hash(fn)
        self.inputs_def: Sequence[Mapping[str, Any]] | None = (
            _given(inputs) if inputs is not None else _inputs_of(binding)
        )
        self.outputs_def: Sequence[Mapping[str, Any]] | None = (
            _given(outputs) if outputs is not None else _outputs_of(binding)
        )
        self.description = description or (inspect.getdoc(fn) or "").partition("\n")[0]
        self.retries: Mapping[str, Any] | None = None
        if retries:
            names = [each if isinstance(each, str) else each.__name__ for each in not_retried]
            how = {} if release == "finish" else {"release": release}
            self.retries = {"retries": retries, "backoff": backoff, "not_retried": names, **how}
        self.cache: Mapping[str, Any] | bool | None = cache
        self.recompute = recompute
        if (problem := needs_problem(needs)) is not None:
            raise LocalProtocolError(f"{_name(fn)}: {problem}")
        self.needs: Mapping[str, Any] | None = needs_of(needs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<block {self.entry}:{self.function}>"


class Block(AnyBlock, Generic[P, R_co]):
    """A function that is a block. Made by ``@block``; calling it calls the function, so that it can be tested alone."""

    fn: Callable[P, R_co]

    if typing.TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


@typing.overload
def block(fn: Callable[P, R]) -> Block[P, R]: ...


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
    cache: bool | Mapping[str, Any] | None = ...,
    recompute: bool = ...,
    needs: Mapping[str, Any] | None = ...,
    description: str = ...,
) -> Callable[[Callable[P, R]], Block[P, R]]: ...


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
    cache: bool | Mapping[str, Any] | None = None,
    recompute: bool = False,
    needs: Mapping[str, Any] | None = None,
    description: str = "",
) -> Block[..., Any] | Callable[[Callable[..., Any]], Block[..., Any]]:
    """Make a block of a function; with or without arguments.

    Handles are read from annotations: a dataclass, ``TypedDict``, ``NamedTuple``, or class of pydantic, msgspec or
    attrs for the inputs and for the return value has one handle for each field. The inputs become one, or the job fails
    with what doesn't fit; one may be returned. ``Annotated[T, Var]``, and types that JSON can't carry, stay in the
    process; ``bytes`` travel raw, and arrive as a file where the input is annotated ``Body``. ``inputs`` and
    ``outputs`` (lists of handle definitions) override what is read.

    ``retries`` is how often a failed job is tried again, ``backoff`` the seconds before the second attempt (doubled
    each time), ``not_retried`` the exceptions that end the job at once. Outputs of a block with retries go downstream
    when an attempt has finished, so each comes from one attempt; with ``release="stream"`` they go as they come, at
    least once.

    With ``cache=True`` a later job with the same code, inputs, handles and versions of what it imports has the result
    without running; ``{"ttl": "12h", "version": "2"}`` says how long, and what else it depends on; ``False`` is never.

    ``recompute=True`` says that the function may run again, with the same inputs, when var values that it has put out
    are lost with the process that held them; only these are taken of it then.

    ``needs={"memory": "4GiB", "gpu": 1, "labels": ["fast-disk"]}`` says what an executor has to offer, and to have
    free, for a job of it.
    """

    def make(fn: Callable[..., Any]) -> Block[..., Any]:
        return Block(
            fn,
            name=name,
            inputs=inputs,
            outputs=outputs,
            retries=retries,
            backoff=backoff,
            not_retried=not_retried,
            release=release,
            cache=cache,
            recompute=recompute,
            needs=needs,
            description=description,
        )

    return make if fn is None else make(fn)


def _given(defs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [dict(each) for each in defs]


def _source_hash(fn: Callable[..., Any]) -> str:
    """Return which code a function is: its module and those of its package that this imports, as their sources say.

    Where there is no file (a prompt, a notebook) the function's own source counts, or its compiled code. So does what
    it has closed over: functions that one factory makes differ in that alone.
    """
    target = innermost(fn)
    made = hashlib.sha256(f"{target.__module__}:{target.__qualname__}:".encode())
    made.update(_module_source(target))
    made.update(words_of(fn).encode("utf-8", "surrogatepass"))
    return made.hexdigest()


def _module_source(target: Any) -> bytes:
    try:
        file = inspect.getsourcefile(target)
    except TypeError:
        file = None
    if file is not None and (digest := module_digest(_module_name(target), Path(file))) is not None:
        return digest.encode()
    code = getattr(target, "__code__", None)
    try:
        if not isinstance(code, types.CodeType) or code.co_filename != _EXECUTED:
            return syntax_digest(textwrap.dedent(inspect.getsource(target)).encode())
    except (OSError, TypeError):
        pass
    return repr(_code_of(code)).encode()


_EXECUTED: Final = "<string>"
"""What code of ``exec`` and of ``python -c`` says that its file is: since Python 3.13 ``inspect`` gives the lines of
the latter for both."""


def _module_name(target: Any) -> str:
    """Return the full name of a function's module; with ``python -m``, that of the one that is ``__main__``."""
    name = str(target.__module__)
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return str(spec.name) if name == "__main__" and spec is not None else name


def _code_of(code: object) -> object:
    """Return what compiled code does, without where it stands."""
    if isinstance(code, types.CodeType):
        return (code.co_code, code.co_names, code.co_varnames, [_code_of(each) for each in code.co_consts])
    # The order of a set isn't the same in the next process.
    return sorted(map(repr, code)) if isinstance(code, frozenset) else code


def _inputs_of(binding: Binding) -> list[dict[str, Any]] | None:
    if binding.shape is not None:
        return [_handle(each) for each in binding.shape.fields]
    return [] if "inputs" not in (*binding.positional, *binding.keywords.values()) else None


def _outputs_of(binding: Binding) -> list[dict[str, Any]] | None:
    return None if binding.result is None else [_handle(each) for each in binding.result.given]


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


def _handle(field: Field) -> dict[str, Any]:
    """Return the definition of the handle that a field is."""
    handle: dict[str, Any] = {"handle": field.name}
    if schema := _schema(field.kind):
        handle["json_schema"] = schema
    if field.default is not MISSING:
        handle["value"] = field.default
    elif field.optional:
        handle["nullable"] = True
    if takes_none(field.kind) and plain(field.kind)[0] not in (Any, object):
        handle["nullable"] = True
    return handle


def _schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a type, that of ``T`` for ``T | None``."""
    kind, said = plain(kind)
    if any(each is Var or isinstance(each, Var) for each in said):
        return {"contentMediaType": "oomol/var"}
    if any(each is Bin or isinstance(each, Bin) for each in said):
        return {"contentMediaType": "oomol/bin"}
    one = without_none(kind)
    if one is not kind:
        return _schema(one)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return {"enum": list(typing.get_args(kind))}
    cls = origin or kind
    if getattr(cls, "__asyncblock_body__", False):
        return {"contentMediaType": "oomol/bin"}
    if cls in _SCHEMAS:
        return dict(_SCHEMAS[cls])
    if kind_of(cls) is not None:
        return {"type": "object"}
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return {"enum": [each.value for each in cls]}
    for base in (str, int, float):
        if isinstance(cls, type) and issubclass(cls, base):
            return dict(_SCHEMAS[base])
    if isinstance(cls, type) and issubclass(cls, (Mapping, Sequence)):
        return {"type": "object" if issubclass(cls, Mapping) else "array"}
    # A class of the author's, a DataFrame: JSON can't carry it.
    return {"contentMediaType": "oomol/var"} if isinstance(cls, type) else {}
