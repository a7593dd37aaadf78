"""What type checkers know: of blocks, of the flows that they are nodes of, of events.

``mypy --strict`` reads this file with all others: an ``assert_type`` that doesn't hold is an error there, and so is an
ignored error that there isn't. It runs, too: what is said here of types is done here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypedDict, assert_never, assert_type

import pytest

import asyncblock
from asyncblock import Context, Flow, InvalidFlow, Session, SyncContext, events
from asyncblock.block import AnyBlock, Block
from asyncblock.flow.builder import Node
from asyncblock.flow.plan import Source


class Numbers(TypedDict):
    low: int
    high: int


@dataclasses.dataclass
class Total:
    total: int


class Shown(TypedDict):
    text: str


@asyncblock.block
def add(inputs: Numbers, ctx: SyncContext) -> Total:
    return Total(sum(range(inputs["low"], inputs["high"])))


@asyncblock.block(retries=1)
async def show(inputs: Total, ctx: Context) -> Shown:
    return {"text": str(inputs.total)}


def test_a_block_has_the_type_of_its_function() -> None:
    sync: Block[[Numbers, SyncContext], Total] = add
    coroutine: Block[[Total, Context], Coroutine[Any, Any, Shown]] = show
    either: list[AnyBlock] = [sync, coroutine]
    assert [each.sync for each in either] == [True, False]
    with pytest.raises(TypeError):
        add("too few")  # type: ignore[call-arg,arg-type]


def called(ctx: SyncContext) -> None:
    """What a call gives is what the function gives."""
    assert_type(add({"low": 1, "high": 3}, ctx), Total)
    add({"low": 1}, ctx)  # type: ignore[typeddict-item]


async def test_the_outputs_of_a_node_have_the_types_of_the_result() -> None:
    flow = Flow("typed")
    added = flow.node(add, {"low": 1, "high": flow.input("high")})
    assert_type(added, Node[Total])
    assert_type(added.outputs.total, int)
    shown = flow.node(show, {"total": added.outputs.total})
    assert_type(shown, Node[Shown])
    assert_type(shown.outputs["text"], str)
    assert_type(shown["text"], Source)
    flow.output("text", shown.outputs["text"])
    assert await flow.run({"high": 4}) == {"text": "6"}

    constant = flow.node(show, Total(5))
    assert_type(constant, Node[Shown])
    flow.output("five", constant["text"])
    assert await flow.run({"high": 4}) == {"text": "6", "five": "5"}
    flow.node(show, Shown(text="5"))
    flow.node(add, Total(5))  # type: ignore[misc,arg-type]

    flow.output("wrong", shown.outputs["txt"])  # type: ignore[typeddict-item]
    flow.output("wrong", added.outputs.totl)  # type: ignore[attr-defined]
    with pytest.raises(InvalidFlow, match="totl"):
        flow.plan()
    with pytest.raises(InvalidFlow, match="is no block; put"):
        flow.node(add.fn)  # type: ignore[call-overload]
    with pytest.raises(InvalidFlow, match="fed by an output of a node, not by 3"):
        flow.output("wrong", 3)


def name_of(event: events.AnyEvent) -> str:
    """Tell all events apart: mypy and pyright say so when one is forgotten."""
    match event:
        case events.SessionStarted() | events.SessionCancelled() | events.SessionFinished() | events.JournalBroken():
            return "session"
        case events.BlockOutput(handle=handle):
            return assert_type(handle, str)
        case events.BlockEvent():
            return event.node_id
        case events.Other():
            return event.name
        case _:
            assert_never(event)


def forgotten(event: events.AnyEvent) -> None:
    match event:
        case events.BlockEvent() | events.Other():
            return
        case _:
            assert_never(event)  # type: ignore[arg-type]


def iterated(session: Session) -> None:
    """Iterating gives the union of all events."""
    assert_type(session.__aiter__(), AsyncIterator[events.AnyEvent])
    assert_type(session.events(5), AsyncIterator[events.AnyEvent])


async def test_every_event_of_a_session_is_of_the_union() -> None:
    from asyncblock.testing import run_block

    result = await run_block(add, {"low": 1, "high": 3})
    names = [name_of(event) for event in result.events]
    assert (names[0], names[-1]) == ("session", "session") and "block" in names
    with pytest.raises(AssertionError):
        forgotten(result.events[0])
