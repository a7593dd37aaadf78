"""Large values are freed a little at a time, and only what nobody else holds."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, block
from asyncblock.executor.keeping.gradualfree import free_gradually


class Leaf:
    """Something whose end can be seen."""


def test_what_nobody_holds_is_freed_to_the_last() -> None:
    ends = []

    def leaf() -> Leaf:
        made = Leaf()
        ends.append(weakref.ref(made))
        return made

    values: list[Any] = [{"rows": [[leaf(), {"x": leaf()}] for _ in range(2000)]}, [], {}, "text", leaf()]
    free_gradually(values)
    assert values == []
    assert len(ends) == 4001
    assert not any(end() for end in ends)


def test_what_somebody_holds_stays_whole_at_any_depth() -> None:
    inner = [[1, 2], {"a": [3]}]
    outer = {"kept": [4, 5]}
    free_gradually([{"a": {"b": [inner] * 2}}, outer, [outer["kept"]]])
    assert inner == [[1, 2], {"a": [3]}]
    assert outer == {"kept": [4, 5]}


class Word(str):
    """Text that says which thread has freed it."""

    __slots__ = ()
    freed_on: ClassVar[set[int]] = set()

    def __del__(self) -> None:
        self.freed_on.add(threading.get_ident())


def rows() -> list[list[str]]:
    return [["x" * 1000, Word("last")] for _ in range(200)]


@block(inputs=[], outputs=[{"handle": "value"}])
async def give(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Return a large value."""
    return {"value": rows()}


@block(inputs=[], outputs=[{"handle": "value"}])
def give_in_thread(inputs: dict[str, Any], ctx: SyncContext) -> dict[str, Any]:
    """Return a large value from a thread."""
    return {"value": rows()}


contexts: list[Context] = []


@block(inputs=[{"handle": "value"}], outputs=[{"handle": "rows"}])
async def take(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Take a large value, and keep the context."""
    contexts.append(ctx)
    return {"rows": len(inputs["value"])}


@pytest.mark.parametrize("source", [give, give_in_thread])
async def test_large_values_are_not_freed_on_the_loop_when_their_job_is_over(tmp_path: Path, source: Any) -> None:
    Word.freed_on.clear()
    contexts.clear()
    flow = Flow("large")
    taken = flow.node(take, inputs={"value": flow.node(source)["value"]})
    flow.output("rows", taken["rows"])
    async with asyncblock.embedded(tmp_path, blocks=[source, take]) as mainframe:
        assert await (await mainframe.start(flow.plan())).outputs() == {"rows": 200}
    [ctx] = contexts
    assert ctx.inputs == {}
    assert Word.freed_on
    assert threading.get_ident() not in Word.freed_on
