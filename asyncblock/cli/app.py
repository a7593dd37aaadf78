"""The command line's surface: options and help.

What the commands do stands in modules that are imported when they are wanted: each command loads what it needs, and
says its first word soon.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Optional

import orjson
import typer

from .._version import __version__
from ..errors import AsyncBlockError, DataDirInUse, InvalidFlow, MainframeFailed, Unauthorized
from .exits import INTERRUPTED
from .flows import RunAs, add_commands
from .scaffold import new
from .targets import Target
from .typedvalues import parse_duration, parse_inputs, parse_limit, parse_object
from .wire import wire

__all__ = ["app"]

EXIT_USAGE = 2
EXIT_FAILED = 70
"""The mainframe ended by an error of its own (EX_SOFTWARE of sysexits.h): a supervisor may start it again."""

app = typer.Typer(
    name="asyncblock",
    help="Run flows of asynchronous blocks, on this machine or on many.",
    epilog=(
        "Environment: ASYNCBLOCK_URL, ASYNCBLOCK_TOKEN and ASYNCBLOCK_TLS_CA stand for --url, --token and --tls-ca, "
        "ASYNCBLOCK_HEADERS (NAME: VALUE, a line each) for --header; "
        "ASYNCBLOCK_DATA_DIR is where mainframes keep their data (default: ~/.local/state/asyncblock). "
        "ASYNCBLOCK_VAR_MEMORY is what var values may take of this machine's memory (default: a quarter). "
        "Exit codes: 0 success, 1 the flow failed, 2 bad usage or a flow that can't be run, 130 interrupted."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

add_commands(app)
app.command()(new)
app.command()(wire)

listing = typer.Typer(invoke_without_command=True, help="List a mainframe's sessions, or prune them.")
app.add_typer(listing, name="sessions")

caches = typer.Typer(invoke_without_command=True, help="Show the cache of results, or prune it.")
app.add_typer(caches, name="cache")

_AS_GIVEN = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Whose command line it is reads it itself."""

Flow = Annotated[str, typer.Argument(help="A flow.oo.yaml, its directory, or the name of an example.")]
SessionId = Annotated[
    str, typer.Argument(metavar="SESSION", help="The session's id, or its beginning: run and submit print it first.")
]
Inputs = Annotated[
    Optional[list[str]],  # noqa: UP045  # typer reads the annotation at run time
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the flow; JSON, or else text. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]
Count = Annotated[int, typer.Option("--workers", min=1, help="Executor processes to start.")]
Offers = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--offers",
        metavar="NAME=AMOUNT",
        help="What is here for blocks that need it: gpu=2, memory=16GiB. Of memory, what there is, unless you say "
        "otherwise. Repeatable.",
    ),
]
Label = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--label", metavar="NAME", help="What else is here for blocks that need it: fast-disk. Repeatable."),
]
Accept = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        envvar="ASYNCBLOCK_ACCEPT",
        metavar="VERSION",
        help="Run the code that is here for sessions that began with this version of it; 'any' for every version. "
        "Repeatable.",
    ),
]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Run blocks in this process, for debugging: breakpoint() works.")
]
Url = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--url",
        envvar="ASYNCBLOCK_URL",
        help="The mainframe: ws://HOST:PORT or wss://...  Default: the one served here.",
    ),
]
Token = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--token",
        envvar="ASYNCBLOCK_TOKEN",
        help="The token. Default, on the mainframe's own machine: that of its data directory.",
    ),
]
TlsCa = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--tls-ca",
        envvar="ASYNCBLOCK_TLS_CA",
        metavar="FILE",
        help="Certificates to trust for wss://, PEM. Default: the system's.",
    ),
]
Header = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--header",
        metavar="NAME:VALUE",
        help="A header for proxies on the way; those of ASYNCBLOCK_HEADERS, a line each, go too. Repeatable.",
    ),
]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--data-dir", metavar="DIR", help="The mainframe's data directory. Default: 'mainframe' in the state directory."
    ),
]
RunDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Where the journal is kept. Default: a directory for each run; the last 20 stay.",
    ),
]
Search = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option("--search", metavar="DIR", help="A directory to look packages up in. Repeatable."),
]


Compat = Annotated[
    Optional[RunAs],  # noqa: UP045
    typer.Option(
        "--compat",
        help="Run the flow's file as this engine does where ours does something more sensible (a warning for each such "
        "place): 'asyncblock check' says what differs.",
    ),
]
Nodes = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--nodes", metavar="A,B", help="Run these nodes only, and those that they need."),
]
InputsFile = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--inputs", metavar="FILE|JSON", help="The flow's inputs as one JSON object; --input goes above it."),
]
NodesInputs = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--nodes-inputs",
        metavar="FILE|JSON",
        help='Inputs of nodes: {"node": {"handle": value}}. They stand for the handle\'s own value and its sources.',
    ),
]


UseCache = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option(
        "--use-cache/--no-cache",
        help="Take the results of all blocks from the cache where nothing that they depend on has changed, and keep "
        "them; or of none. Default: of those that say 'cache: true'.",
        show_default=False,
    ),
]
Refresh = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--refresh", metavar="NODE", help="Run this node anew, and keep its new result. Repeatable."),
]


class SessionState(StrEnum):
    """The states of sessions."""

    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    interrupted = "interrupted"


class Synchronous(StrEnum):
    """What a commit survives."""

    normal = "normal"
    full = "full"


def _run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command; typed errors become one clear message and exit code 2."""
    try:
        code = asyncio.run(work)
        sys.stdout.flush()
    except InvalidFlow as error:
        _complain("the flow can't be run:", *map(str, error.problems))
        code = EXIT_USAGE
    except MainframeFailed as error:
        _complain(str(error))
        code = EXIT_FAILED
    except Unauthorized as error:
        hint = ""
        if error.code == "token":
            hint = "; give another one with --token or ASYNCBLOCK_TOKEN, or --data-dir of a mainframe on this machine"
        _complain(f"{error}{hint}")
        code = EXIT_USAGE
    except DataDirInUse as error:
        # What a library says is no use to whoever types commands.
        _complain(str(error.__cause__ or error))
        code = EXIT_USAGE
    except AsyncBlockError as error:
        _complain(str(error))
        code = EXIT_USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has left; the interpreter's last flush must not complain about it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + 13
    raise typer.Exit(code)


def _complain(*lines: str) -> None:
    print("\n  ".join(["asyncblock: " + lines[0], *lines[1:]]), file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"asyncblock {__version__}")
        raise typer.Exit(0)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


@app.command()
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
    from . import commands, rerunning
    from .offered import Offered
    from .parts import Part
    from .submitting import Wanted

    given = {**parse_object(inputs, "--inputs"), **parse_inputs(input or [])}
    part = Part.read(nodes, nodes_inputs, use_cache=use_cache, refresh=tuple(refresh or ()), given=given)
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
    _run((rerunning.run_again if watch else commands.run)(wanted, 0 if in_process else workers, data_dir))


@app.command()
def resume(
    session_id: SessionId,
    workers: Count = 1,
    in_process: InProcess = False,
    data_dir: RunDir = None,
    accept: Accept = None,
    offers: Offers = None,
    label: Label = None,
    json: Json = False,
) -> None:
    """Go on with a session of a run that was killed or interrupted.

    Jobs that finished don't run again; one that was running follows its block's retry policy (by default it fails, for
    nobody knows how far it came). The session is shown from its beginning. Exit codes as for run.

    Code that was edited since is another version: the session says so and waits, unless --accept lets it go on.
    """
    from . import commands
    from .offered import Offered

    offered = Offered.read(offers or (), label or ())
    _run(commands.resume(session_id, 0 if in_process else workers, data_dir, json, tuple(accept or ()), offered))


@app.command()
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
) -> None:
    """Run a flow that failed again, from where it failed: fix its code, then retry.

    A new session. What had finished isn't run again where its code, its inputs, the files that these name and what it
    imports are the same; its outputs come from the old session. What runs again, and why, is said before it starts.
    --input gives an input another value. For a local run, or a session of a mainframe whose executors are on this
    machine. Exit codes as for run.
    """
    from . import retry as retrying
    from .offered import Offered

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    places = tuple(search or ())
    given = parse_inputs(input or [])
    offered = Offered.read(offers or (), label or ())
    engine = None if compat is None else compat.value
    number = 0 if in_process else workers
    _run(retrying.retry(session_id, target, from_node, given, places, number, json, offered, engine))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 7788,
    data_dir: DataDir = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Executor processes to start beside; they serve the shipped examples.")
    ] = 0,
    synchronous: Annotated[
        Synchronous, typer.Option(help="What is acknowledged survives kill -9 (normal) or power loss too (full).")
    ] = Synchronous.normal,
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="Further tokens: a line each, TOKEN and its roles (executor,client,observer)."
        ),
    ] = None,
    tls_cert: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="The certificate chain, PEM. Read again when it changes."),
    ] = None,
    tls_key: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Its key, PEM.")] = None,  # noqa: UP045
    origin: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="URL", help="A web page's origin that may connect (https://HOST). Repeatable."),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without TLS.")] = False,
    no_executor_timeout: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0, metavar="SECONDS", help="How long a job waits for an executor with its package. Default: 30."
        ),
    ] = None,
    version_timeout: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="The same in a session that is under way, when a deploy has taken its code away. Default: an hour.",
        ),
    ] = None,
) -> None:
    """Serve a mainframe until interrupted.

    Its own token, with all roles, is in the file 'token' of the data directory; commands on this machine find it there.
    GET /healthz and /metrics answer on the same port. Sessions that were running when it ended go on when it is back.
    """
    from . import commands

    level: Literal["normal", "full"] = "full" if synchronous is Synchronous.full else "normal"
    _run(
        commands.serve(
            host=host,
            port=port,
            data_dir=data_dir,
            workers=workers,
            synchronous=level,
            token_file=token_file,
            tls_cert=tls_cert,
            tls_key=tls_key,
            origins=frozenset(origin or ()),
            insecure=insecure,
            no_executor_timeout=no_executor_timeout,
            version_timeout=version_timeout,
        )
    )


@app.command()
def executor(
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    package: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--package", "-p", metavar="DIR", help="A package whose blocks run here. Repeatable."),
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds that running jobs have when it is told to leave.")] = 30.0,
    sync_slots: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Threads for blocks that are no coroutines. Default: two a core."),
    ] = None,
    offers: Offers = None,
    label: Label = None,
    accept: Accept = None,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="After an edit, start a new process; the old one ends what it runs. Needs watchfiles."
        ),
    ] = False,
) -> None:
    """Run blocks for a mainframe until interrupted. The shipped examples are always served.

    A job comes here if its package has the same version here: the hash of its code, not of data. Where a session says
    that it waits for a version, --accept lets it go on under another one.

    Ctrl-C or SIGTERM: no new jobs, running ones have the grace, everything is acknowledged, then a line says what was
    done. A second one leaves at once.
    """
    from . import commands
    from .offered import Offered

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    offered = Offered.read(offers or (), label or ())
    _run(commands.executor(target, tuple(package or ()), grace, sync_slots, tuple(accept or ()), reload, offered))


@app.command("oocana-executor", add_help_option=False, context_settings=_AS_GIVEN)
def oocana_executor(context: typer.Context) -> None:
    """Run Python blocks under the oocana engine, which starts this itself, as python-executor."""
    from ..bridge.command import main

    main(context.args, "asyncblock oocana-executor")


@app.command()
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
    from . import submitting
    from .manyruns import Sets, parse_matrix, parse_rows
    from .parts import Part

    given = {**parse_object(inputs, "--inputs"), **parse_inputs(input or [])}
    part = Part.read(nodes, nodes_inputs, use_cache=use_cache, refresh=tuple(refresh or ()), given=given)
    sets = None
    if matrix and rows is not None:
        raise typer.BadParameter("give --matrix or --inputs-file", param_hint="--matrix")
    if matrix or rows is not None:
        sets = Sets(given, parse_matrix(matrix or ()) if rows is None else parse_rows(rows), limit)
        given = sets.inputs[0]
    engine = None if compat is None else compat.value
    wanted = submitting.Wanted(flow, given, tuple(search or ()), json, part, compat=engine)
    _run(submitting.submit(wanted, Target(url, token, data_dir, tls_ca, tuple(header or ())), detach, sets))


@app.command()
def watch(
    session_id: SessionId,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    offset: Annotated[
        int, typer.Option(min=0, help="The journal row to begin at: one past the last that you saw.")
    ] = 0,
    json: Json = False,
) -> None:
    """Follow a session from its beginning to its end. Ctrl-C only stops watching. Exit codes as for run."""
    from . import sessioncommands as known

    _run(known.watch(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), offset, json))


@app.command()
def cancel(
    session_id: SessionId,
    job: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--job", metavar="JOB", help="Cancel only this job of it: its id, or the beginning of it."),
    ] = None,
    reason: Annotated[str, typer.Option(help="What is said to whoever watches.")] = "cancelled",
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Cancel a session, one of its jobs, or all sessions of a group; blocks may clean up.

    A session that has ended is left as it is. Of a group nothing that waits for its turn begins any more.
    """
    from . import sessioncommands as known

    _run(known.cancel(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), job, reason))


@app.command()
def outputs(
    session_id: SessionId,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Wait for the end of a session and print its outputs as a JSON object; of a group a list of them, in order.

    Exit codes as for run.
    """
    from . import sessioncommands as known

    _run(known.outputs(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ()))))


@caches.callback()
def cache(context: typer.Context, json: Json = False) -> None:
    """Say where results are kept on this machine, how many, and how large they are."""
    from . import cache as caching

    if context.invoked_subcommand is None:
        _run(caching.show(json))


@caches.command("prune")
def prune_cache(
    older: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="AGE", help="Remove what wasn't used for this long: 90s, 15m, 12h, 30d, 2w."),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    json: Json = False,
) -> None:
    """Remove kept results. Blocks that run may go on writing and reading."""
    from . import cache as caching

    if (older is None) is not all:
        raise typer.BadParameter("say which results may go: --older AGE, or --all")
    _run(caching.prune(None if older is None else parse_duration(older), json))


@app.command()
def show(
    session_id: SessionId,
    node: Annotated[Optional[str], typer.Argument(metavar="NODE", help="Only this node, with all it shows.")] = None,  # noqa: UP045
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Show a session as it is now: its nodes, what they preview, what failed. Nothing goes on for that.

    Tables are drawn; pictures too in a terminal that says that it can (kitty, iTerm2, sixel), else their files are
    named. Works for sessions that run, have ended, or were killed.
    """
    from . import telling

    _run(telling.show(session_id, node, Target(url, token, data_dir, tls_ca, tuple(header or ()))))


@app.command()
def report(
    session_id: SessionId,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="Where it goes. Default: the session's id and .html."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Leave nothing out, however large that is.")] = False,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Write one HTML file that tells all of a session: graph, timeline, previews, logs, errors. It needs no network.

    At most 10 MB; what isn't in it is listed in it. Works for sessions that run, have ended, or were killed.
    """
    from . import telling

    _run(telling.report(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), output, full))


@app.command()
def export(
    session_id: SessionId,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where it goes; new, or empty.")],
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Write everything that came of a session into a directory.

    Outputs as JSON (tables as Parquet too, where pyarrow is), previews as files, logs as text, all events as
    events.jsonl, and session.json, which says what is what. DIR appears when it is whole.
    """
    from . import telling

    _run(telling.export_session(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), directory))


@app.command()
def page(
    session_id: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="[SESSION]", help="Begin at this session: its id, or its beginning; or at a group."),
    ] = None,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    port: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, max=65535, help="The page's port. Default: a free one from 7790 on."),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; beyond loopback with TLS.")] = "127.0.0.1",
    tls_cert: Annotated[Optional[Path], typer.Option(metavar="FILE", help="The page's certificate chain, PEM.")] = None,  # noqa: UP045
    tls_key: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Its key, PEM.")] = None,  # noqa: UP045
    allow_host: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME[:PORT]", help="What browsers call the page behind a proxy. Repeatable."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """See sessions in a browser, live: graph, previews, logs, errors, timeline, any earlier moment.

    Those of the mainframe, and of the last local runs unless --url or --data-dir says which mainframe is meant. Local
    runs are read from their journals: a run that was killed doesn't go on for being looked at.

    The address that is printed lets one browser in, once; it is opened where there is a display. Others log in with the
    token. What the token may do, the page may do: that of an observer can cancel nothing. Needs the extra 'page'.
    """
    from . import paging
    from .served_tls import served_tls

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    tls = served_tls(tls_cert, tls_key)
    listen = paging.Listen(host, port, tls, tuple(allow_host or ()), not no_browser, until_eof)
    _run(paging.page(session_id, target, listen))


@listing.callback()
def sessions(
    context: typer.Context,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    state: Annotated[Optional[SessionState], typer.Option(help="Only those in this state.")] = None,  # noqa: UP045
    limit: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="N|all", help="How many at most, the newest first. Default: 20; of a group all."),
    ] = None,
    group: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="GROUP", help="The sessions of one group, each on a line of its own."),
    ] = None,
    json: Json = False,
) -> None:
    """List sessions, or prune them: id, when it began, how long it took, how far it is, state, title and error.

    Those of the mainframe, and of the last local runs unless --url or --data-dir says which mainframe is meant. Those
    that were started together (submit --matrix) are one line, unless --group names them or --json is given.
    """
    from . import sessioncommands as known

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    if context.invoked_subcommand is None:
        most = parse_limit(limit or ("all" if group else "20"))
        _run(known.sessions(target, None if state is None else state.value, most, json, group))
    context.obj = target


@listing.command()
def prune(
    context: typer.Context,
    older: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="AGE", help="Delete sessions that ended longer ago than this: 90s, 15m, 12h, 30d, 2w."),
    ] = None,
    keep: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, metavar="N", help="Keep the N newest in any case; without --older, delete all others."),
    ] = None,
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Delete sessions of a mainframe that have ended, with their journal entries and bodies. Running ones stay.

    Of local runs the last 20 are kept, and older ones go by themselves.
    """
    from . import housekeeping

    if older is None and keep is None:
        raise typer.BadParameter("say which sessions may go: --older AGE, --keep N, or both")
    given: Target = context.obj
    target = Target(
        url or given.url,
        token or given.token,
        data_dir or given.data_dir,
        tls_ca or given.tls_ca,
        (*given.header, *(header or ())),
    )
    _run(housekeeping.prune(target, None if older is None else parse_duration(older), keep, json))


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the backup goes; it isn't there yet.")],
    data_dir: DataDir = None,
) -> None:
    """Copy a mainframe's data directory while it runs: one moment of its journal, with everything that it names.

    The mainframe isn't held up. DIR appears when it is whole. Exit codes: 0 it is made, 2 it can't be.
    """
    from . import housekeeping

    _run(housekeeping.backup(Target(data_dir=data_dir), directory))


@app.command()
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A backup.")], data_dir: DataDir = None
) -> None:
    """Make a data directory of a backup, for 'asyncblock serve --data-dir'. One that is there is never overwritten.

    Whoever was connected before learns that what came after the backup is gone.
    """
    from . import housekeeping

    _run(housekeeping.restore(Target(data_dir=data_dir), directory))


@app.command()
def doctor(
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Examine a mainframe and the way to it: a line for each thing, "ok" or what to do.

    Address, TLS, /healthz, websocket upgrade (through a proxy too), version, token and roles, clock, limits, disk,
    journal, executors. Exit codes: 0 all is well, 1 something isn't, 2 bad usage.
    """
    from . import housekeeping

    _run(housekeeping.doctor(Target(url, token, data_dir, tls_ca, tuple(header or ())), json))


@app.command()
def examples(json: Json = False) -> None:
    """List the flows that are shipped with asyncblock: run one with 'asyncblock run NAME'."""
    from ..flow.shipped import shipped

    found = [{"name": each.name, "about": each.about} for each in shipped()]
    if json:
        print(orjson.dumps(found).decode())
        return
    width = max(len(each["name"]) for each in found)
    for each in found:
        print(f"{each['name']:<{width}}  {each['about']}")
