"""The inputs of jobs, read back from the journal.

A job's own row says of each input where it stands: in the flow, among the session's inputs, or in the row by which
another job has put it out. Nothing of it is kept here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..errors import Rejected, Unavailable
from ..events import value_in_row
from ..flow.plan import Plan
from ..runtime.offload import run_in_thread
from .inputforms import hides, type_of

__all__ = ["Given", "Row", "inputs_of", "row_in"]

Row = Callable[[int], Awaitable[Sequence[bytes]]]
"""Reads the lines of a row."""

_CREATIONS: Final = ("JobCreated", "FlowJobStarted")


@dataclass(frozen=True, slots=True)
class Given:
    """An input of a job."""

    value: Any
    """A large one as its reference."""
    declared: str
    """Its declared type; empty if its author has declared none."""
    source: str
    """Where it came from, for people."""
    hidden: bool = False
    """It is a secret that was given literally, so it isn't shown."""


def row_in(rows: Iterable[tuple[int, Sequence[bytes]]], offset: int) -> Sequence[bytes]:
    """Return one of the rows that were read. Raises ``Unavailable`` when it isn't there."""
    for number, lines in rows:
        if number == offset:
            return lines
    raise Unavailable(f"the journal has no row {offset} any more")


async def inputs_of(row: Row, plan: Plan, offset: int, job_id: str) -> dict[str, Given]:
    """Return the inputs of the job that began in a row.

    **Cancellation** is safe. Raises ``Unavailable`` when the journal doesn't say it.
    """
    rows: dict[int, Sequence[bytes]] = {}

    async def lines(number: int) -> Sequence[bytes]:
        if number not in rows:
            rows[number] = await row(number)
        return rows[number]

    begun = await run_in_thread(_entry_of, await lines(offset), job_id)
    definitions = _definitions(plan, begun)
    found: dict[str, Given] = {}
    for handle, ref in begun.get("inputs", {}).items():
        definition = definitions.get(handle, {})
        try:
            value, source = await _resolved(lines, plan, ref)
        except (LookupError, TypeError, ValueError) as error:
            raise Unavailable(f"input {handle!r} isn't where the journal says that it is: {error}") from error
        schema = definition.get("json_schema")
        declared = type_of(schema) if isinstance(schema, Mapping) else ""
        hidden = hides(definition, value)
        found[str(handle)] = Given(None if hidden else value, declared, source, hidden)
    return found


def _entry_of(lines: Sequence[bytes], job_id: str) -> dict[str, Any]:
    for line in lines:
        obj = orjson.loads(line)
        if obj.get("type") in _CREATIONS and obj.get("job_id") == job_id:
            return dict(obj)
    raise Unavailable(f"this row of the journal doesn't begin job {job_id}")


def _definitions(plan: Plan, begun: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    try:
        block = plan.resolve(begun.get("flow"), begun["node_id"], begun.get("spec")).block
        return {each["handle"]: each for each in block.get("inputs_def") or ()}
    except (LookupError, TypeError, AttributeError, Rejected):
        return {}


async def _resolved(lines: Row, plan: Plan, ref: Sequence[Any]) -> tuple[Any, str]:
    """Return a value, or the body that holds it, and where it came from."""
    match ref[0]:
        case "given":
            return ref[1], "given by the block that asked for this one"
        case "static":
            return plan.static_value(ref), "written in the flow"
        case "input":
            for line in await lines(0):
                obj = await run_in_thread(orjson.loads, line)
                if obj.get("type") == "SessionStarted":
                    return obj["inputs"].get(ref[1]), f"the flow's input {ref[1]}"
            raise LookupError("row 0 begins no session")
    _, number, index, record, handle = ref
    line = (await lines(number))[index]
    value, body = await run_in_thread(value_in_row, line, record, handle)
    node = (await run_in_thread(orjson.loads, line)).get("node_id", "")
    source = f"{node}.{handle}"
    return (value, source) if body is None else (body, source)
