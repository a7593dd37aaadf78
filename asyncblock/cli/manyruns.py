"""Many runs of one flow by one command: ``submit --matrix`` and ``--inputs-file``, and what is done with a group."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import orjson
import typer

from ..client import Mainframe, Session, SessionInfo
from ..client.many import Many, MapResult
from ..errors import FlowFailed, Unavailable
from ..flow.plan import Plan
from .interrupts import INTERRUPTED, Interrupts

__all__ = [
    "Sets",
    "begin_many",
    "follow_many",
    "members_of",
    "outputs_of_group",
    "parse_matrix",
    "parse_rows",
]

MAX_RUNS = 100_000
"""Runs of one group: their ids have no more room."""


def parse_matrix(given: Sequence[str]) -> list[dict[str, Any]]:
    """Read ``NAME=VALUE,VALUE`` options: every combination of them is a set of inputs."""
    names: dict[str, list[Any]] = {}
    count = 1
    for each in given:
        name, found, text = each.partition("=")
        if not found or not name or name in names:
            words = "is given twice" if name in names else "isn't NAME=VALUE,VALUE,..."
            raise typer.BadParameter(f"{each!r} {words}", param_hint="--matrix")
        names[name] = _values(text)
        count *= len(names[name])
        if count > MAX_RUNS:
            raise typer.BadParameter(f"that is more than {MAX_RUNS:,} runs", param_hint="--matrix")
    return [dict(zip(names, values, strict=True)) for values in product(*names.values())]


def _values(text: str) -> list[Any]:
    if text.startswith("["):
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, list) and found:
            return found
    return [_value(each) for each in text.split(",")]


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def parse_rows(given: Path) -> list[dict[str, Any]]:
    """Read a file with one JSON object a line; ``-`` is the standard input."""
    hint = "--inputs-file"
    try:
        text = sys.stdin.read() if str(given) == "-" else given.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{given} can't be read: {error}", param_hint=hint) from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise typer.BadParameter(f"{given}:{number}: this is no JSON: {error}", param_hint=hint) from error
        if not isinstance(found, dict):
            raise typer.BadParameter(f"{given}:{number}: a line is an object of inputs by name", param_hint=hint)
        rows.append(found)
    if not rows:
        raise typer.BadParameter(f"{given} holds no inputs", param_hint=hint)
    if len(rows) > MAX_RUNS:
        raise typer.BadParameter(f"{given} has more than {MAX_RUNS:,} lines", param_hint=hint)
    return rows


@dataclass(frozen=True, slots=True)
class Sets:
    """Many sets of inputs."""

    common: dict[str, Any]
    """What all of them have."""
    varied: list[dict[str, Any]]
    """What each has beside, or instead."""
    limit: int

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The sets, whole."""
        return [{**self.common, **each} for each in self.varied]


async def begin_many(mainframe: Mainframe, plan: Plan, sets: Sets, json: bool) -> int:
    """Start a flow for each set of inputs, print the sessions' ids, and leave them running."""
    inputs = sets.inputs
    many = mainframe.map(plan, inputs)
    for session, each in zip(await many.begin(), inputs, strict=True):
        said = {"session_id": session.session_id, "group": many.group, "inputs": each}
        print(orjson.dumps(said).decode() if json else session.session_id)
    return 0


async def follow_many(mainframe: Mainframe, plan: Plan, sets: Sets, interrupts: Interrupts, *, json: bool) -> int:
    """Run a flow for each set of inputs, telling of each as it ends; return the exit code. An interrupt cancels all."""
    count = len(sets.varied)
    many = mainframe.map(plan, sets.inputs, limit=sets.limit)
    cancelling: list[asyncio.Task[None]] = []

    def interrupted() -> None:
        print("cancelling all of them; once more to leave at once", file=sys.stderr, flush=True)
        cancelling.append(asyncio.create_task(many.cancel("interrupted")))

    print(f"group {many.group}: {count} runs, {sets.limit} at once", file=sys.stderr, flush=True)
    states: dict[str, int] = {}
    with interrupts.handled_by(interrupted):
        async for result in many:
            state = _state(result)
            states[state] = states.get(state, 0) + 1
            _tell(many, result, state, count, sets.varied[result.index], json)
    for task in cancelling:
        await task
    missing = count - sum(states.values())
    if missing:
        states["not started"] = missing
    if json:
        print(orjson.dumps({"type": "GroupFinished", "group": many.group, "states": states}).decode())
    else:
        print(f"group {many.group}: {', '.join(f'{count} {state}' for state, count in states.items())}")
    if cancelling:
        return INTERRUPTED
    return 0 if states == {"succeeded": count} else 1


def _state(result: MapResult) -> str:
    if result.error is None:
        return "succeeded"
    return result.error.state if isinstance(result.error, FlowFailed) else "failed"


def _tell(many: Many[Session], result: MapResult, state: str, count: int, varied: dict[str, Any], json: bool) -> None:
    error = None if result.error is None else str(result.error)
    if json:
        said = {
            "type": "RunFinished",
            "group": many.group,
            "index": result.index,
            "session_id": result.session_id,
            "inputs": result.inputs,
            "state": state,
            "error": error,
            "outputs": result.outputs,
        }
        sys.stdout.buffer.write(orjson.dumps(said, default=_plain) + b"\n")
        sys.stdout.buffer.flush()
        return
    name = " ".join(f"{key}={_short(value, 30)}" for key, value in varied.items())
    told = ", ".join(f"{key} = {_short(value, 60)}" for key, value in islice(result.outputs.items(), 5))
    words = told if error is None else error.splitlines()[0]
    print(f"[{result.index + 1}/{count}] {name}: {state}{f': {words}' if words else ''}", flush=True)


def _short(value: Any, limit: int) -> str:
    text = orjson.dumps(value, default=_plain).decode() if not isinstance(value, str) else value
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)


async def members_of(mainframe: Mainframe, group: str) -> list[SessionInfo]:
    """List all sessions of a group. Raises ``Unavailable`` where there are none."""
    found = await mainframe.sessions(limit=None, prefix=group)
    if not found:
        raise Unavailable(f"the mainframe at {mainframe.address} has no sessions of a group {group!r}")
    return found


async def outputs_of_group(mainframe: Mainframe, group: str) -> tuple[list[dict[str, Any]], bool]:
    """Wait for all sessions of a group; return what each has come to, in order, and whether all have succeeded."""
    members = sorted(await members_of(mainframe, group), key=lambda each: each.session_id)
    found: list[dict[str, Any]] = []
    for each in members:
        try:
            outputs = await mainframe.session(each.session_id).outputs()
            found.append({"session_id": each.session_id, "state": "succeeded", "outputs": outputs})
        except FlowFailed as failed:
            found.append({"session_id": each.session_id, "state": failed.state, "error": str(failed)})
    return found, all(each["state"] == "succeeded" for each in found)
