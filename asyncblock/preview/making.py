"""A preview in the making: taken at the call, converted on a worker thread, figures drawn in the worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import PreviewFailed, UnserializableValue
from ..runtime.offload import Abandoned, TooLong, show_in_thread
from ..values import is_small
from .cells import sendable
from .convert import converted, is_plain, taken
from .figure import is_drawable
from .figurepickle import NotSendable
from .limits import Limits, default_limits
from .renderer import Rendering
from .rows import Pages, taken_apart

__all__ = ["Making"]

T = TypeVar("T")

_NONE = ""
"""What is drawn where nothing can be, and nothing has to."""

_LONGEST_ID = 1000
"""Characters of an id."""


class Making:
    """One preview. Made at the call, on the author's thread; then either ``finish`` or ``finish_blocking``.

    Of tables the shown rows are taken at the call, and so are small plain values and small plotly figures: the author
    may change them at once. Other values, figures too, are read while ``finish`` goes on, unless ``now`` is asked for:
    then a figure is pickled at the call.
    """

    def __init__(self, payload: object, id: str | None, limits: Limits | None, *, now: bool = False) -> None:
        """Raises ``PreviewFailed``, and what the value's own methods raise as long as it is an ``Exception``."""
        self._limits = default_limits() if limits is None else limits
        self._id = _checked(id)
        self._made: dict[str, Any] | None = None
        self.pages: Pages | None = None
        """The rows of tables that are shown in part, once it is finished."""
        _of_author(self._take, payload, now)

    def _take(self, payload: object, now: bool) -> None:
        self._taken = taken(payload, self._limits)
        if is_plain(self._taken) and is_small(self._taken):
            # Quicker than a thread, and safe from what the author does to it next.
            self._made = self._converted()
        if now and (is_drawable(payload) or (isinstance(payload, dict) and payload.get("type") == "image")):
            self._made = self._converted()
            for rendering in _renderings(self._made):
                _take_or_draw(rendering)

    async def finish(self) -> dict[str, Any]:
        """Return the payload, ready for JSON.

        **Cancellation** abandons a conversion and ends a drawing. Raises what the value's methods raise,
        ``PreviewFailed`` and ``UnserializableValue``.
        """
        made = self._made if self._made is not None else await self._in_thread(self._converted)
        for rendering in _waiting(made):
            try:
                rendering.drawn = await rendering.url()
            except (NotSendable, PreviewFailed) as problem:
                if rendering.beside:
                    rendering.drawn = _NONE
                elif isinstance(problem, PreviewFailed):
                    raise
                else:
                    rendering.drawn = await self._in_thread(rendering.draw_here)
        resolved: dict[str, Any] = _resolved(made)
        return resolved

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await show_in_thread(self._limits.seconds, _of_author, work)
        except TooLong as problem:
            raise PreviewFailed(str(problem)) from None

    def finish_blocking(self) -> dict[str, Any]:
        """As ``finish``, on this thread."""
        made = self._made if self._made is not None else _of_author(self._converted)
        for rendering in _waiting(made):
            try:
                rendering.drawn = rendering.begin().result()
            except (NotSendable, PreviewFailed) as problem:
                if rendering.beside:
                    rendering.drawn = _NONE
                elif isinstance(problem, PreviewFailed):
                    raise
                else:
                    rendering.drawn = _of_author(rendering.draw_here)
            except BaseException:
                # The exception that ends a cancelled block's thread too: its figure would still be drawn.
                rendering.abandon()
                raise
        resolved: dict[str, Any] = _resolved(made)
        return resolved

    def said_of_pages(self) -> dict[str, Any] | None:
        """Return what is said of the pages, once they are made; None where there are none."""
        return None if self.pages is None else self.pages.to_json()

    @property
    def seconds(self) -> float:
        """The time that a step of the preview's conversion has."""
        return self._limits.seconds

    @property
    def size(self) -> int:
        """Bytes of figures that were taken at the call."""
        return sum(rendering.size for rendering in _waiting(self._made)) if self._made is not None else 0

    def _converted(self) -> dict[str, Any]:
        made, tables = taken_apart(converted(self._taken, self._limits))
        self.pages = Pages(tables, self._limits) if tables else None
        if self._id is not None:
            made["id"] = self._id
        return made


def _checked(id: object) -> str | None:
    if id is not None and not isinstance(id, str):
        raise PreviewFailed(f"its id is a text, not {type(id).__name__}")
    if id is not None and len(id) > _LONGEST_ID:
        raise PreviewFailed(f"its id has {len(id):,} characters; the limit is {_LONGEST_ID:,}")
    if id is not None and sendable(id) != id:
        raise PreviewFailed(f"its id has lone surrogates: {id!a}")
    return id


def _of_author(work: Callable[..., T], *args: Any) -> T:
    """Run what calls methods of the author's value: nothing that they raise may end the job, or seem to cancel it."""
    try:
        return work(*args)
    except UnserializableValue as problem:
        # What to do with an output isn't what to do with a preview.
        raise UnserializableValue(problem.reason.partition(";")[0], path=problem.path) from None
    except (Exception, Abandoned):
        raise
    except BaseException as problem:
        # SystemExit and the like from a display method: not this thread's to end by.
        raise PreviewFailed(f"it raised {type(problem).__name__}") from None


def _take_or_draw(rendering: Rendering) -> None:
    try:
        rendering.take()
    except NotSendable:
        rendering.drawn = rendering.draw_here()


def _renderings(made: Any) -> list[Rendering]:
    """Return the figures in a payload: under ``data``, in a list there, in the payloads of a group, beside a chart."""
    if isinstance(made, Rendering):
        return [made]
    if isinstance(made, list):
        return [rendering for each in made if isinstance(each, (Rendering, dict)) for rendering in _renderings(each)]
    if not (isinstance(made, dict) and "type" in made and "data" in made):
        return []
    beside = made.get("mime")
    return _renderings(made["data"]) + (_renderings(list(beside.values())) if isinstance(beside, dict) else [])


def _waiting(made: dict[str, Any]) -> list[Rendering]:
    return [rendering for rendering in _renderings(made) if rendering.drawn is None]


def _resolved(made: Any) -> Any:
    """Put what was drawn in the places of the figures."""
    if not _renderings(made):
        return made
    if isinstance(made, Rendering):
        drawn = str(made.drawn)
        return drawn.partition(",")[2] if made.beside else f"{made.around[0]}{drawn}{made.around[1]}"
    if isinstance(made, list):
        return [_resolved(each) for each in made]
    resolved = {**made, "data": _resolved(made["data"])}
    if "mime" in made:
        beside = {media_type: _resolved(each) for media_type, each in made["mime"].items()}
        resolved["mime"] = {media_type: each for media_type, each in beside.items() if each != _NONE}
    return resolved
