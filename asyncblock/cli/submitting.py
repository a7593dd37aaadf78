"""Flows that are started on a mainframe that is there. Each command returns the exit code.

``submit`` is a client of a mainframe: it loads no part of one, nor of an executor.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ..client import resolve_flow
from ..errors import InvalidFlow
from ..flow.misfit import misfit
from ..flow.plan import Plan
from .display import open_display
from .flows import unserved
from .following import NotCancelled, follow
from .interrupts import INTERRUPTED, Interrupts
from .manyruns import Sets, begin_many, follow_many
from .offered import Offered
from .partialrun import PartialRun
from .targets import Target, reach

__all__ = ["Wanted", "resolve", "submit", "warn"]

_ODD = 10
"""Inputs that are told to be odd, at most."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flow to run and how to tell of it."""

    flow: str
    inputs: dict[str, Any]
    search: tuple[Path, ...]
    json: bool
    part: PartialRun = field(default_factory=PartialRun)
    report: Path | None = None
    """Where a report of the run goes."""
    offered: Offered = field(default_factory=Offered)
    page: bool = False
    """Its page is served while it runs."""
    compat: str | None = None
    """The engine that the flow's file is read for (``--compat``); None for ours."""
    broker: str | None = None
    """The MQTT broker to which the run is reported while it lasts."""


def resolve(wanted: Wanted, languages: Collection[str] = ()) -> Plan:
    """Make a plan of a flow. Reads files."""
    return resolve_flow(
        wanted.flow,
        wanted.inputs,
        wanted.search,
        shape=wanted.part.shape,
        languages=languages,
        compat=wanted.compat,
    )


def warn(plan: Plan, sets: Iterable[Mapping[str, Any]]) -> None:
    """Say what is odd about a flow, and about sets of inputs for it."""
    declared = {each["handle"]: each for each in plan.inputs_def}
    odd = (
        f"input {name!r}: {words}"
        for inputs in sets
        for name, value in inputs.items()
        if name in declared and (words := misfit(declared[name], value)) is not None
    )
    told = [*map(str, plan.warnings), *dict.fromkeys(islice(odd, _ODD))]
    for words in told:
        print(f"{words} (warning)", file=sys.stderr)


async def submit(wanted: Wanted, target: Target, detach: bool, sets: Sets | None = None) -> int:
    """Start a flow on a running mainframe, once or for each of several sets of inputs."""
    with Interrupts() as interrupts:
        try:
            plan = await asyncio.to_thread(resolve, wanted)
        except InvalidFlow as error:
            if not any(problem.code == "language" for problem in error.problems):
                raise
            plan = None
        async with reach(target) as mainframe:
            if plan is None:
                plan = await mainframe.resolve(lambda languages: resolve(wanted, languages))
            warn(plan, [wanted.inputs] if sets is None else sets.inputs)
            if sets is not None:
                # Of many runs only their ends are shown. So say now what they would wait for in vain.
                for problem in unserved(plan, await mainframe.info()):
                    print(f"{problem} (warning)", file=sys.stderr, flush=True)
                return await (
                    begin_many(mainframe, plan, sets, wanted.json)
                    if detach
                    else follow_many(mainframe, plan, sets, interrupts, json=wanted.json)
                )
            session = await mainframe.start(plan, wanted.inputs)
            if detach:
                said = {"session_id": session.session_id}
                print(orjson.dumps(said).decode() if wanted.json else session.session_id)
                return 0
            async with open_display(wanted.json) as display:
                try:
                    return await follow(session, display, interrupts, cancel=True)
                except NotCancelled as error:
                    display.note(f"{error}; leaving. It may run on: asyncblock cancel {session.session_id}")
                    return INTERRUPTED
