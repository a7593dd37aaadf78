"""Flows for tests: a block's source in, the session's events out, through a real mainframe."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe, Session

__all__ = ["all_of", "node", "one_block", "run_block", "write_flow"]

E = TypeVar("E", bound=events.Event)


def handle_def(name: str, media_type: str | None = None) -> dict[str, Any]:
    handle: dict[str, Any] = {"handle": name}
    if media_type is not None:
        handle["json_schema"] = {"contentMediaType": media_type}
    return handle


def node(
    node_id: str,
    source: str,
    directory: Path,
    *,
    inputs: Sequence[dict[str, Any]] = (),
    outputs: Sequence[str | dict[str, Any]] | None = ("out",),
    inputs_from: Sequence[dict[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """Write a block's source into a scriptlet and return the node of an inline task."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{node_id}.py").write_text(textwrap.dedent(source))
    task: dict[str, Any] = {"executor": {"name": "python", "options": {"entry": f"{node_id}.py"}}}
    if inputs:
        task["inputs_def"] = list(inputs)
    if outputs is not None:
        task["outputs_def"] = [handle_def(each) if isinstance(each, str) else each for each in outputs]
    made: dict[str, Any] = {"node_id": node_id, "task": task, **fields}
    if inputs_from:
        made["inputs_from"] = list(inputs_from)
    return made


def write_flow(directory: Path, nodes: Sequence[dict[str, Any]], **fields: Any) -> Path:
    """Write a flow file and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "flow.oo.yaml"
    path.write_text(yaml.safe_dump({"nodes": list(nodes), **fields}, sort_keys=False))
    return path


def one_block(directory: Path, source: str, outputs: Sequence[str | dict[str, Any]] | None = ("out",)) -> Path:
    """Write a flow of one node ``n`` whose outputs are the flow's outputs."""
    names = [each if isinstance(each, str) else each["handle"] for each in outputs or ()]
    flow_outputs = [{"handle": name, "from_node": [{"node_id": "n", "output_handle": name}]} for name in names]
    return write_flow(directory, [node("n", source, directory, outputs=outputs)], outputs_from=flow_outputs)


@asynccontextmanager
async def started(path: Path, inputs: Mapping[str, object] | None = None, **options: Any) -> AsyncIterator[Session]:
    """Start a flow on an embedded mainframe."""
    async with asyncblock.embedded(**options) as mainframe:
        yield await mainframe.start(path, inputs)


async def run_flow(path: Path, **options: Any) -> list[events.Event]:
    """Run a flow on an embedded mainframe and return all its events."""
    async with started(path, **options) as session:
        return [event async for event in session]


async def run_block(
    directory: Path, source: str, outputs: Sequence[str | dict[str, Any]] | None = ("out",), **options: Any
) -> list[events.Event]:
    """Run one block as a flow and return all events."""
    return await run_flow(one_block(directory, source, outputs), **options)


def all_of(found: Sequence[events.Event], kind: type[E]) -> list[E]:
    """Return the events of one kind."""
    return [event for event in found if isinstance(event, kind)]


def warnings_of(found: Sequence[events.Event]) -> list[str]:
    """Return the warnings of blocks, but those of a blocked event loop: on a busy machine anything may hold it up."""
    told = [event.warning for event in all_of(found, events.BlockWarning)]
    return [each for each in told if "blocked the event loop" not in each]


def end_of(found: Sequence[events.Event]) -> events.SessionFinished:
    """Return the one end of a session; nothing comes after it."""
    [end] = all_of(found, events.SessionFinished)
    assert found[-1] is end
    return end


async def until(session: Session, kind: type[E], test: Callable[[E], bool] = lambda event: True) -> E:
    """Wait for an event of a session."""
    async for event in session:
        if isinstance(event, kind) and test(event):
            return event
    raise AssertionError(f"the session ended without {kind.__name__}")


MainframeFixture = Mainframe
