"""Commands that run a flow: here, again, and on a running mainframe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..finishing import run_command
from ..targets import Target
from ..typedvalues import parse_inputs, parse_object
from .options import (
    Accept,
    BegunFd,
    Compat,
    Count,
    DataDir,
    Flow,
    Header,
    InProcess,
    Inputs,
    InputsFile,
    Json,
    Label,
    Nodes,
    NodesInputs,
    Offers,
    Refresh,
    RunDir,
    Search,
    SessionId,
    TlsCa,
    Token,
    Url,
    UseCache,
)

__all__ = [
    "resume",
    "retry",
    "run",
    "submit",
]


def run(
    flow: Flow,
    input: Inputs = None,
    workers: Count = 1,
    in_process: InProcess = False,
    data_dir: RunDir = None,
    search: Search = None,
    compat: Compat = None,
    nodes: Nodes = None,
    inputs: InputsFile = None,
    nodes_inputs: NodesInputs = None,
    use_cache: UseCache = None,
    refresh: Refresh = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Run it again after each edit of its code or its flows. Needs watchfiles.")
    ] = False,
    report: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--report",
            metavar="FILE|mqtt://HOST:PORT",
            help="Write a report of the run: one HTML file, when it has ended. Or tell an MQTT broker of it while it "
            "runs, as the oocana engine does on its topic 'report'. Repeatable.",
        ),
    ] = None,
    offers: Offers = None,
    label: Label = None,
    page: Annotated[
        bool,
        typer.Option("--page", help="Serve its page while it runs: opened where a display is, else printed. Ctrl-C."),
    ] = False,
    json: Json = False,
) -> None:
    """Run a flow here, from start to end, and show its progress.

    Ctrl-C cancels the session and lets blocks clean up; a second one leaves at once. With --json the last line is
    SessionFinished with "outputs" and "error".

    Exit codes: 0 success, 1 the flow failed, 2 bad usage or a flow that can't be run, 130 interrupted.
    """
    from .. import commands, rerunning
    from ..offered import Offered
    from ..partialrun import PartialRun
    from ..submitting import Wanted

    given = {**parse_object(inputs, "--inputs"), **parse_inputs(input or [])}
    part = PartialRun.read(nodes, nodes_inputs, use_cache=use_cache, refresh=tuple(refresh or ()), given=given)
    offered = Offered.read(offers or (), label or ())
    if page and watch:
        raise typer.BadParameter("the page is of one run: give --page or --watch", param_hint="--page")
    engine = None if compat is None else compat.value
    told = [each for each in report or () if each.startswith("mqtt://")]
    files = [Path(each) for each in report or () if not each.startswith("mqtt://")]
    if len(told) > 1 or len(files) > 1:
        raise typer.BadParameter("one file and one broker at most", param_hint="--report")
    file, broker = files[0] if files else None, told[0] if told else None
    wanted = Wanted(flow, given, tuple(search or ()), json, part, file, offered, page, engine, broker)
    run_command((rerunning.run_again if watch else commands.run)(wanted, 0 if in_process else workers, data_dir))


def resume(
    session_id: SessionId,
    workers: Count = 1,
    in_process: InProcess = False,
    data_dir: RunDir = None,
    accept: Accept = None,
    offers: Offers = None,
    label: Label = None,
    json: Json = False,
    begun_fd: BegunFd = None,
) -> None:
    """Go on with a session of a run that was killed or interrupted.

    Jobs that finished don't run again; one that was running follows its block's retry policy (by default it fails, for
    nobody knows how far it came). The session is shown from its beginning. Exit codes as for run.

    Code that was edited since is another version: the session says so and waits, unless --accept lets it go on.
    """
    from .. import commands
    from ..offered import Offered

    offered = Offered.read(offers or (), label or ())
    number = 0 if in_process else workers
    run_command(commands.resume(session_id, number, data_dir, json, tuple(accept or ()), offered, begun_fd))


def retry(
    session_id: SessionId,
    from_node: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", metavar="NODE", help="Run this node and all that it feeds again, finished or not."),
    ] = None,
    input: Inputs = None,
    workers: Count = 1,
    in_process: InProcess = False,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    search: Search = None,
    compat: Compat = None,
    offers: Offers = None,
    label: Label = None,
    json: Json = False,
    begun_fd: BegunFd = None,
) -> None:
    """Run a flow that failed again, from where it failed: fix its code, then retry.

    A new session. What had finished isn't run again where its code, its inputs, the files that these name and what it
    imports are the same; its outputs come from the old session. What runs again, and why, is said before it starts.
    --input gives an input another value. For a local run, or a session of a mainframe whose executors are on this
    machine. Exit codes as for run.
    """
    from .. import retry as retrying
    from ..offered import Offered

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    places = tuple(search or ())
    given = parse_inputs(input or [])
    offered = Offered.read(offers or (), label or ())
    engine = None if compat is None else compat.value
    number = 0 if in_process else workers
    run_command(retrying.retry(session_id, target, from_node, given, places, number, json, offered, engine, begun_fd))


def submit(
    flow: Flow,
    input: Inputs = None,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    search: Search = None,
    compat: Compat = None,
    nodes: Nodes = None,
    inputs: InputsFile = None,
    nodes_inputs: NodesInputs = None,
    use_cache: UseCache = None,
    refresh: Refresh = None,
    matrix: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--matrix",
            metavar="NAME=A,B,...",
            help="Run it for each value, or for each combination of several. Repeatable.",
        ),
    ] = None,
    rows: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--inputs-file", metavar="FILE", help="Run it for each line: one JSON object of inputs a line."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of several runs go on at once.")] = 16,
    detach: Annotated[bool, typer.Option("--detach", help="Print the session's id and leave.")] = False,
    json: Json = False,
) -> None:
    """Start a flow on a running mainframe and follow it to its end. Ctrl-C cancels it. Exit codes as for run.

    With --matrix or --inputs-file it is started for each set of inputs, as one group: a line for each that ends, and
    one for all. A run that fails doesn't end the others; then the exit code is 1.
    """
    from .. import submitting
    from ..manyruns import Sets, parse_matrix, parse_rows
    from ..partialrun import PartialRun

    given = {**parse_object(inputs, "--inputs"), **parse_inputs(input or [])}
    part = PartialRun.read(nodes, nodes_inputs, use_cache=use_cache, refresh=tuple(refresh or ()), given=given)
    sets = None
    if matrix and rows is not None:
        raise typer.BadParameter("give --matrix or --inputs-file", param_hint="--matrix")
    if matrix or rows is not None:
        sets = Sets(given, parse_matrix(matrix or ()) if rows is None else parse_rows(rows), limit)
        given = sets.inputs[0]
    engine = None if compat is None else compat.value
    wanted = submitting.Wanted(flow, given, tuple(search or ()), json, part, compat=engine)
    run_command(submitting.submit(wanted, Target(url, token, data_dir, tls_ca, tuple(header or ())), detach, sets))
