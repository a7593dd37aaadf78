"""Options and arguments that several commands have: a name, its environment variable and its help are said once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "Accept",
    "BegunFd",
    "Compat",
    "Count",
    "DataDir",
    "Flow",
    "Header",
    "InProcess",
    "Inputs",
    "InputsFile",
    "Json",
    "Label",
    "LogAs",
    "LogFormat",
    "Nodes",
    "NodesInputs",
    "Offers",
    "Refresh",
    "RunAs",
    "RunDir",
    "Search",
    "SessionId",
    "SessionState",
    "Synchronous",
    "TlsCa",
    "Token",
    "Url",
    "UseCache",
]


class RunAs(StrEnum):
    """Engines that a flow may be run as."""

    oocana = "oocana"


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
BegunFd = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--begun-fd", hidden=True),
]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Run blocks in this process, for debugging: breakpoint() works.")
]
Url = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--url",
        envvar="ASYNCBLOCK_URL",
        help="The mainframe: ws://HOST:PORT or wss://...; of a set all, with commas. Default: the one served here.",
    ),
]
Token = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--token",
        envvar="ASYNCBLOCK_TOKEN",
        help="The token. On the mainframe's own machine the one in its data directory is the default.",
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
        help="A header for proxies on the way, besides those in ASYNCBLOCK_HEADERS (one a line). Repeatable.",
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


class LogAs(StrEnum):
    """How a command that stays logs."""

    text = "text"
    json = "json"


LogFormat = Annotated[
    LogAs,
    typer.Option(
        "--log-format",
        envvar="ASYNCBLOCK_LOG_FORMAT",
        help="What it says on stderr: lines to read, or a JSON object a line (event, level, logger, timestamp).",
    ),
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
