"""Commands about flows that run nothing: ``check``, ``graph``, and ``flows`` (what of the language there is)."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import orjson
import typer

from ..errors import AsyncBlockError, InvalidFlow, Problem
from .targets import Target, reach

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["add_commands", "unserved"]

_EXIT_INVALID = 2


class RunAs(StrEnum):
    """Engines that a flow may be run as."""

    oocana = "oocana"


_SHOWN = 5
"""Executors' offers that are named."""

_DOT_TIMEOUT = 60.0
"""Seconds that Graphviz has for a picture."""

FlowFile = Annotated[
    str, typer.Argument(metavar="FLOW", help="A flow, subflow or block, its directory, or an example.")
]
Search = Annotated[
    Optional[list[Path]],  # noqa: UP045  # typer reads the annotation at run time
    typer.Option("--search", metavar="DIR", help="A directory to look packages up in. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(graph)
    app.command()(flows)


def check(
    flow: FlowFile,
    search: Search = None,
    language: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--language", metavar="NAME", help="A language besides Python that executors will run. Repeatable."
        ),
    ] = None,
    compat: Annotated[
        Optional[RunAs],  # noqa: UP045
        typer.Option("--compat", help="Check it as it runs with --compat."),
    ] = None,
    elsewhere: Annotated[
        bool,
        typer.Option("--elsewhere", help="Its blocks run in other environments: what they import needn't be here."),
    ] = False,
    plan_wanted: Annotated[
        bool, typer.Option("--plan", help="Print the plan as JSON: what a client of any language starts.")
    ] = False,
    url: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--url",
            metavar="URL",
            help="Also say what of it no executor of this mainframe can run now; 'here' is the one served here.",
        ),
    ] = None,
    token: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--token", envvar="ASYNCBLOCK_TOKEN", help="The token for --url."),
    ] = None,
    tls_ca: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--tls-ca", envvar="ASYNCBLOCK_TLS_CA", metavar="FILE", help="Certificates to trust, PEM."),
    ] = None,
    header: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--header", metavar="NAME:VALUE", help="A header for proxies on the way. Repeatable."),
    ] = None,
    data_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--data-dir", metavar="DIR", help="The data directory of the mainframe that --url means."),
    ] = None,
    json: Json = False,
) -> None:
    """Check a flow and all that it refers to, without running anything.

    Every problem is told with file and line: also imports of block files that can't be resolved here, unless they run
    elsewhere, and with --url which blocks nobody there has the code for, or offers what they need. What would differ
    with --compat is told too. Exit codes: 0 it can be run, 2 it can't.
    """
    languages = tuple(language or ())
    info = None
    if url is not None or data_dir is not None:
        target = Target(None if url in (None, "here") else url, token, data_dir, tls_ca, tuple(header or ()))
        try:
            info = asyncio.run(_ask(target))
        except AsyncBlockError as error:
            print(f"asyncblock: {error}", file=sys.stderr)
            raise typer.Exit(_EXIT_INVALID) from error
        languages += tuple(info.get("languages", ()))
    from .unresolved import unresolved_imports

    engine = None if compat is None else compat.value
    plan, problems = _load(flow, search, languages, engine)
    otherwise = [] if engine is not None else _differences(flow, search, languages)
    if plan is not None and info is not None and (lacking := unserved(plan, info)):
        plan, problems = None, lacking
    if plan is not None and not plan_wanted and (missing := unresolved_imports(plan)):
        if elsewhere or info is not None:
            plan = replace(plan, warnings=(*plan.warnings, *missing))
        else:
            plan, problems = None, missing
    if plan_wanted and plan is not None:
        print(orjson.dumps(plan.to_json()).decode())
        for warning in plan.warnings:
            print(f"{warning} (warning)", file=sys.stderr)
        return
    if plan_wanted:
        print("\n  ".join(["asyncblock: the flow can't be run:", *map(str, problems)]), file=sys.stderr)
        raise typer.Exit(_EXIT_INVALID)
    warnings = list(plan.warnings) if plan is not None else []
    if json:
        found = {
            "ok": plan is not None,
            "problems": [_to_json(each) for each in problems],
            "warnings": [_to_json(each) for each in warnings],
            "compat": [_to_json(each) for each in otherwise],
        }
        print(orjson.dumps(found).decode())
    else:
        for problem in problems:
            print(problem)
        for warning in warnings:
            print(f"{warning} (warning)")
        for each in otherwise:
            print(f"{each} (with --compat oocana)")
        if plan is not None:
            inner = sum(len(each.nodes) for each in plan.flows.values())
            print(f"{flow}: fine; {len(plan.nodes)} nodes" + (f", {inner} in subflows" if inner else ""))
        else:
            print(f"{flow}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", file=sys.stderr)
    raise typer.Exit(0 if plan is not None else _EXIT_INVALID)


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


def _differences(flow: str, search: list[Path] | None, languages: tuple[str, ...]) -> list[Problem]:
    """Say where a flow would run otherwise as in the existing engine."""
    plan, _ = _load(flow, search, languages, RunAs.oocana.value)
    return [] if plan is None else [each for each in plan.warnings if each.code == "compat"]


def _load(
    flow: str, search: list[Path] | None, languages: tuple[str, ...] = (), compat: str | None = None
) -> tuple[Plan | None, list[Problem]]:
    """Load a flow; that it would need inputs is no problem of the flow."""
    from ..client import resolve_flow

    try:
        return resolve_flow(flow, None, tuple(search or ()), languages=languages, compat=compat), []
    except InvalidFlow as error:
        problems = [each for each in error.problems if each.code != "input"]
        if problems:
            return None, problems
        needed = {each.subject: None for each in error.problems if each.subject is not None}
        return resolve_flow(flow, needed, tuple(search or ()), languages=languages, compat=compat), []


def _to_json(problem: Problem) -> dict[str, Any]:
    return {"message": problem.message, "file": problem.file, "line": problem.line}


def graph(
    flow: FlowFile,
    search: Search = None,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write: .svg needs Graphviz, else Mermaid's text."
        ),
    ] = None,
) -> None:
    """Draw a flow as Mermaid text, or as SVG where Graphviz's 'dot' is there."""
    from ..flow.graph import to_dot, to_mermaid

    plan, problems = _load(flow, search)
    if plan is None:
        print("\n  ".join(["asyncblock: the flow can't be drawn:", *map(str, problems)]), file=sys.stderr)
        raise typer.Exit(_EXIT_INVALID)
    if output is None:
        print(to_mermaid(plan), end="")
    elif output.suffix == ".svg":
        output.write_bytes(_svg(to_dot(plan)))
    else:
        output.write_text(to_dot(plan) if output.suffix in (".dot", ".gv") else to_mermaid(plan), "utf-8")


def _svg(text: str) -> bytes:
    dot = shutil.which("dot")
    if dot is None:
        print("asyncblock: SVG needs Graphviz's 'dot' on the path; without -o the text is Mermaid's", file=sys.stderr)
        raise typer.Exit(_EXIT_INVALID)
    try:
        command = [dot, "-Tsvg"]
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_DOT_TIMEOUT, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"asyncblock: {dot} couldn't draw the flow: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    return done.stdout


def flows(
    json: Json = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference page: the same table, with how each is written.")
    ] = False,
) -> None:
    """List what of the flow language works here, and what is refused with a message."""
    if reference and json:
        raise typer.BadParameter("one of --json and --reference at a time")
    if reference:
        from ..flow.featurepage import reference_page

        print(reference_page(), end="")
        return

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
