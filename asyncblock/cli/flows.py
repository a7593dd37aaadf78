"""What can be said of flows without running them: their problems, plans and pictures, and what the language has."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import typer

from ..errors import AsyncBlockError, InvalidFlow, Problem
from .exits import USAGE
from .targets import Target, reach

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["FlowToCheck", "draw_graph", "examine", "list_features", "print_plan", "print_reference", "tell", "unserved"]

_SHOWN = 5
"""Executors' offers that are named."""

_DOT_TIMEOUT = 60.0
"""Seconds that Graphviz has for a picture."""


@dataclass(frozen=True, slots=True)
class FlowToCheck:
    """Which flow is to be examined, and as what."""

    flow: str
    search: tuple[Path, ...] = ()
    languages: tuple[str, ...] = ()
    compat: str | None = None
    elsewhere: bool = False
    """Its blocks run in other environments: what they import needn't be here."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of a flow: its plan, or the problems that keep it from running."""

    plan: Plan | None
    problems: list[Problem] = field(default_factory=list)
    otherwise: list[Problem] = field(default_factory=list)
    """What would differ in the existing engine."""


def examine(asked: FlowToCheck, target: Target | None, *, with_imports: bool) -> Examined:
    """Look for every problem of a flow: in its files, in what its blocks import, at the executors of a mainframe."""
    from .unresolved import unresolved_imports

    info = None if target is None else _info_of(target)
    languages = asked.languages if info is None else (*asked.languages, *info.get("languages", ()))
    asked = replace(asked, languages=languages)
    plan, problems = _load(asked)
    otherwise = [] if asked.compat is not None else _differences(asked)
    if plan is not None and info is not None and (lacking := unserved(plan, info)):
        plan, problems = None, lacking
    if plan is not None and with_imports and (missing := unresolved_imports(plan)):
        if asked.elsewhere or info is not None:
            plan = replace(plan, warnings=(*plan.warnings, *missing))
        else:
            plan, problems = None, missing
    return Examined(plan, problems, otherwise)


def print_plan(found: Examined) -> int:
    """Print the plan of a flow, or on stderr why there is none; return the exit code."""
    if found.plan is None:
        print("\n  ".join(["asyncblock: the flow can't be run:", *map(str, found.problems)]), file=sys.stderr)
        return USAGE
    print(orjson.dumps(found.plan.to_json()).decode())
    for warning in found.plan.warnings:
        print(f"{warning} (warning)", file=sys.stderr)
    return 0


def tell(flow: str, found: Examined, *, json: bool) -> int:
    """Print what was found of a flow; return the exit code."""
    plan = found.plan
    warnings = list(plan.warnings) if plan is not None else []
    if json:
        words = {
            "ok": plan is not None,
            "problems": [_to_json(each) for each in found.problems],
            "warnings": [_to_json(each) for each in warnings],
            "compat": [_to_json(each) for each in found.otherwise],
        }
        print(orjson.dumps(words).decode())
        return 0 if plan is not None else USAGE
    for problem in found.problems:
        print(problem)
    for warning in warnings:
        print(f"{warning} (warning)")
    for each in found.otherwise:
        print(f"{each} (with --compat oocana)")
    if plan is None:
        print(f"{flow}: {len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}", file=sys.stderr)
        return USAGE
    inner = sum(len(plan.flows[key].nodes) for key in plan.flows_within(plan.nodes))
    print(
        f"{flow}: fine; {len(plan.nodes)} node{'s' if len(plan.nodes) != 1 else ''}"
        + (f", {inner} in subflows" if inner else "")
    )
    return 0


def _info_of(target: Target) -> dict[str, Any]:
    try:
        return asyncio.run(_ask(target))
    except AsyncBlockError as error:
        print(f"asyncblock: {error}", file=sys.stderr)
        raise typer.Exit(USAGE) from error


async def _ask(target: Target) -> dict[str, Any]:
    async with reach(target) as mainframe:
        return await mainframe.info()


def unserved(plan: Plan, info: Mapping[str, Any]) -> list[Problem]:
    """Say which blocks no connected executor can run, as far as a mainframe's own words tell."""
    from ..flow.needed import tasks_of, unoffered
    from ..resources import Resources

    if "offers" not in info:
        return []  # it is older, and doesn't say
    executors = [
        (set(each.get("packages", ())), Resources.of({k: v for k, v in each.items() if k != "packages"}))
        for each in info["offers"]
    ]
    if not executors:
        return [Problem("no executor is connected; start one: asyncblock executor --package DIR", plan.path)]
    problems = []
    for name, node in tasks_of(plan):
        version = str(node.block.get("hash") or "")
        having = [offers for packages, offers in executors if not version or version in packages]
        lack = unoffered(dict(node.block), having)
        if not having:
            words = f"node {name!r}: no executor has {node.block.get('package')} (version {version[:12]}); start one "
            words += "with 'asyncblock executor --package DIR', DIR being the same files"
        elif lack is not None:
            needs = Resources.of(node.block.get("needs"))
            offered = ", or ".join(sorted({str(each) or "nothing" for each in having})[:_SHOWN])
            words = f"node {name!r} needs {needs}, and no executor that has its code offers {lack}; they offer "
            words += f"{offered}; start one with 'asyncblock executor --package DIR {needs.as_options()}'"
        else:
            continue
        problems.append(Problem(words, plan.path))
    return problems


def _differences(asked: FlowToCheck) -> list[Problem]:
    """Say where a flow would run otherwise as in the existing engine."""
    plan, _ = _load(replace(asked, compat="oocana"))
    return [] if plan is None else [each for each in plan.warnings if each.code == "compat"]


def _load(asked: FlowToCheck) -> tuple[Plan | None, list[Problem]]:
    """Load a flow; that it would need inputs is no problem of the flow."""
    from ..client import resolve_flow

    def load(inputs: Mapping[str, object] | None) -> Plan:
        return resolve_flow(asked.flow, inputs, asked.search, languages=asked.languages, compat=asked.compat)

    try:
        return load(None), []
    except InvalidFlow as error:
        problems = [each for each in error.problems if each.code != "input"]
        if problems:
            return None, problems
        return load({each.subject: None for each in error.problems if each.subject is not None}), []


def _to_json(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "file": problem.file, "line": problem.line}


def draw_graph(flow: str, search: tuple[Path, ...], output: Path | None) -> int:
    """Draw a flow into a file, or print it as Mermaid's text; return the exit code."""
    from ..flow.graph import to_dot, to_mermaid

    plan, problems = _load(FlowToCheck(flow, search))
    if plan is None:
        print("\n  ".join(["asyncblock: the flow can't be drawn:", *map(str, problems)]), file=sys.stderr)
        return USAGE
    if output is None:
        print(to_mermaid(plan), end="")
    elif output.suffix == ".svg":
        output.write_bytes(_svg(to_dot(plan)))
    else:
        output.write_text(to_dot(plan) if output.suffix in (".dot", ".gv") else to_mermaid(plan), "utf-8")
    return 0


def _svg(text: str) -> bytes:
    dot = shutil.which("dot")
    if dot is None:
        print("asyncblock: SVG needs Graphviz's 'dot' on the path; without -o the text is Mermaid's", file=sys.stderr)
        raise typer.Exit(USAGE)
    try:
        command = [dot, "-Tsvg"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_DOT_TIMEOUT, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"asyncblock: {dot} couldn't draw the flow: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    return done.stdout


def print_reference() -> None:
    """Print the page of what the flow language has, with how each thing is written."""
    from ..flow.featurepage import reference_page

    print(reference_page(), end="")


def list_features(*, json: bool) -> None:
    """Print what the flow language has: a line each, or JSON."""
    from ..flow.features import FEATURES

    if json:
        rows = [
            {"name": each.name, "state": each.state, "note": each.note, "yaml": each.yaml, "test": each.test}
            for each in FEATURES
        ]
        print(orjson.dumps(rows).decode())
        return
    width = max(len(each.name) for each in FEATURES)
    for each in FEATURES:
        print(f"{each.name:<{width}}  {each.state:<7}  {each.note}".rstrip())
