"""The command line's surface: options and help. What the commands do stands in ``commands``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Optional

import orjson
import typer

from .. import __version__
from ..errors import AsyncBlockError, InvalidFlow
from . import commands
from .inputs import parse_inputs

__all__ = ["app"]

EXIT_USAGE = 2

app = typer.Typer(
    name="asyncblock",
    help="Run flows of asynchronous blocks, on this machine or on many.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Flow = Annotated[str, typer.Argument(help="A flow.oo.yaml, its directory, or the name of an example.")]
Inputs = Annotated[
    Optional[list[str]],  # noqa: UP045  # typer reads the annotation at run time
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input of the flow; JSON, or else text. Repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]
Url = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--url", envvar="ASYNCBLOCK_URL", help="The mainframe's address (default: the one served here)."),
]
Token = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--token", envvar="ASYNCBLOCK_TOKEN", help="The token (default: that of the data directory)."),
]
DataDir = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data-dir", metavar="DIR", help="Where the journal is kept."),
]
Search = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Option("--search", metavar="DIR", help="A directory to look packages up in. Repeatable."),
]


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command; typed errors become one clear message and exit code 2."""
    try:
        code = asyncio.run(work)
    except InvalidFlow as error:
        _complain("the flow can't be run:", *map(str, error.problems))
        code = EXIT_USAGE
    except AsyncBlockError as error:
        _complain(str(error))
        code = EXIT_USAGE
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
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
    workers: Annotated[int, typer.Option(min=1, help="Executor processes to start.")] = 1,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Run blocks in this process, for debugging.")
    ] = False,
    data_dir: DataDir = None,
    search: Search = None,
    json: Json = False,
) -> None:
    """Run a flow here, from start to end, and show its progress.

    Exit code: 0 success, 1 the flow failed, 2 bad usage or a flow that can't be run, 130 interrupted.
    """
    wanted = commands.Wanted(flow, parse_inputs(input or []), tuple(search or ()), json)
    _run(commands.run(wanted, 0 if in_process else workers, data_dir))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 7788,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=0, help="Executor processes to start beside.")] = 0,
    synchronous: Annotated[
        str, typer.Option(help="normal survives kill -9, full survives power loss.", metavar="normal|full")
    ] = "normal",
    token_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Further tokens: a line each, TOKEN and its roles (executor,client,observer)."),
    ] = None,
    tls_cert: Annotated[Optional[Path], typer.Option(help="The certificate chain, PEM.")] = None,  # noqa: UP045
    tls_key: Annotated[Optional[Path], typer.Option(help="Its key, PEM.")] = None,  # noqa: UP045
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without TLS.")] = False,
) -> None:
    """Serve a mainframe until interrupted."""
    if synchronous not in ("normal", "full"):
        raise typer.BadParameter("say normal or full", param_hint="--synchronous")
    _run(
        commands.serve(
            host=host,
            port=port,
            data_dir=data_dir,
            workers=workers,
            synchronous="full" if synchronous == "full" else "normal",
            token_file=token_file,
            tls_cert=tls_cert,
            tls_key=tls_key,
            insecure=insecure,
        )
    )


@app.command()
def executor(
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = None,
    package: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--package", "-p", metavar="DIR", help="A package whose blocks run here. Repeatable."),
    ] = None,
    grace: Annotated[float, typer.Option(help="Seconds that running jobs have when it is told to leave.")] = 30.0,
    sync_slots: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Threads for blocks that are no coroutines (default: two a core)."),
    ] = None,
    ca_file: Annotated[Optional[Path], typer.Option(help="Certificates to trust for wss://, PEM.")] = None,  # noqa: UP045
) -> None:
    """Run blocks for a mainframe until interrupted. The shipped examples are always served."""
    _run(commands.executor(url, token, data_dir, tuple(package or ()), grace, sync_slots, ca_file))


@app.command()
def submit(
    flow: Flow,
    input: Inputs = None,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = None,
    search: Search = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the session's id and leave.")] = False,
    json: Json = False,
) -> None:
    """Start a flow on a running mainframe and follow it to its end. Exit codes as for run."""
    wanted = commands.Wanted(flow, parse_inputs(input or []), tuple(search or ()), json)
    _run(commands.submit(wanted, url, token, data_dir, detach))


@app.command()
def watch(
    session_id: Annotated[str, typer.Argument(help="The session's id.")],
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = None,
    offset: Annotated[int, typer.Option(min=0, help="The journal row to begin at.")] = 0,
    json: Json = False,
) -> None:
    """Follow a session from its beginning to its end. Exit codes as for run."""
    _run(commands.watch(session_id, url, token, data_dir, offset, json))


@app.command()
def sessions(
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = None,
    state: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Only those in this state: running, succeeded, failed, cancelled."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    json: Json = False,
) -> None:
    """List a mainframe's sessions."""
    _run(commands.sessions(url, token, data_dir, state, limit, json))


@app.command()
def examples(json: Json = False) -> None:
    """List the flows that are shipped with asyncblock."""
    from ..examples import examples as shipped

    found = [{"name": each.name, "about": each.about} for each in shipped()]
    if json:
        print(orjson.dumps(found).decode())
        return
    width = max(len(each["name"]) for each in found)
    for each in found:
        print(f"{each['name']:<{width}}  {each['about']}")
