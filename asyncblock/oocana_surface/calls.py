"""How a function that was written for ``oocana`` is called: by the number of its parameters, as that package does it.

None: ``fn()``. One: ``fn(context)`` where it is annotated with the context's class, else ``fn(inputs)``. More:
``fn(inputs, context)``. An ``async def`` runs on an event loop of its own in the job's thread: its calls are no
coroutines, so one that waits for room would hold up the blocks beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..block import Binding, is_async
from ..errors import LocalProtocolError, Unavailable
from ..shapes.hints import innermost
from .ownloop import OwnLoops
from .whose import takes_oocana

if TYPE_CHECKING:
    from .needs_of_faces import OurContext

__all__ = ["oocana_binding", "require_oocana"]


def oocana_binding(fn: Callable[..., Any]) -> Binding:
    """Work out how to call a function with a context of ``oocana``.

    Raises ``Unavailable`` without that package, ``LocalProtocolError`` for what can't be called.
    """
    require_oocana(_name(fn))
    called = _Called(fn)
    return Binding(called, False, ("inputs", "ctx"), {}, own_loop=called.is_async, ended=called.loops.close)


def require_oocana(who: str) -> None:
    """Raise ``Unavailable`` where that package isn't installed, before anything runs."""
    try:
        import oocana  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        if error.name != "oocana":
            raise
        raise Unavailable(
            f"{who} wants the context of 'oocana', which isn't installed here; it comes with "
            "pip install 'asyncblock[oocana]'"
        ) from None


class _Called:
    """A function, as the executor calls it."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = self.__wrapped__ = fn
        self._takes = _parameters(fn)
        self.is_async = is_async(fn)
        self.loops = OwnLoops()

    def __call__(self, inputs: Mapping[str, Any], ctx: OurContext) -> Any:
        from .face_of_context import OocanaContext

        context = OocanaContext(ctx, inputs)
        given = {"inputs": context.inputs, "context": context}
        positional = [given[what] for what, keyword in self._takes if keyword is None]
        keywords = {keyword: given[what] for what, keyword in self._takes if keyword is not None}
        if self.is_async:
            returned = self.loops.run(lambda: self._fn(*positional, **keywords), ctx)
        else:
            returned = self._fn(*positional, **keywords)
        context.orders_are_out()
        if returned is context.keepAlive:
            return ctx.keepAlive
        return context.sendable(returned) if isinstance(returned, dict) else returned


def _parameters(fn: Callable[..., Any]) -> tuple[tuple[str, str | None], ...]:
    """Return what a function takes, each with the keyword that it needs."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"{_name(fn)} can't be called as a block: {error}") from error
    if len(parameters) == 1:
        what = ["context" if takes_oocana(fn, parameters[0].name) else "inputs"]
    else:
        what = ["inputs", "context"][: len(parameters)]
    return tuple(
        (each, parameter.name if parameter.kind is parameter.KEYWORD_ONLY else None)
        for each, parameter in zip(what, parameters, strict=False)
    )


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(innermost(fn), "__qualname__", fn))
