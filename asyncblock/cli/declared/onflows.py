"""Commands about flows that run nothing: ``check``, ``graph``, and ``flows`` (what of the language there is)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..targets import Target
from .options import RunAs, Search

__all__ = ["check", "flows", "graph"]

FlowFile = Annotated[
    str, typer.Argument(metavar="FLOW", help="A flow, subflow or block, its directory, or an example.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]


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
            help="Also name the blocks that no executor of this mainframe can run now; 'here' is the one served here.",
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

    Every problem is told with file and line. So are imports of block files that can't be resolved here, unless the
    blocks run elsewhere; with --url, blocks that no executor there has the code for, or offers the resources for; and
    with --compat, what would differ. Exit codes: 0 it can be run, 2 it can't.
    """
    from .. import flows as about

    target = None
    if url is not None or data_dir is not None:
        target = Target(None if url in (None, "here") else url, token, data_dir, tls_ca, tuple(header or ()))
    engine = None if compat is None else compat.value
    asked = about.FlowToCheck(flow, tuple(search or ()), tuple(language or ()), engine, elsewhere)
    found = about.examine(asked, target, with_imports=not plan_wanted)
    raise typer.Exit(about.print_plan(found) if plan_wanted else about.tell(flow, found, json=json))


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
    from .. import flows as about

    raise typer.Exit(about.draw_graph(flow, tuple(search or ()), output))


def flows(
    json: Json = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference page: the same table, with how each is written.")
    ] = False,
) -> None:
    """List what of the flow language works here, and what is refused with a message."""
    from .. import flows as about

    if reference and json:
        raise typer.BadParameter("one of --json and --reference at a time")
    if reference:
        about.print_reference()
    else:
        about.list_features(json=json)
