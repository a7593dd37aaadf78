"""Commands about sessions: follow, end, look at and list those that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..finishing import run_command
from ..targets import Target
from ..typedvalues import parse_duration, parse_limit
from .options import (
    DataDir,
    Header,
    Json,
    SessionId,
    SessionState,
    TlsCa,
    Token,
    Url,
)

__all__ = [
    "cancel",
    "export",
    "outputs",
    "page",
    "prune",
    "report",
    "sessions",
    "show",
    "watch",
]


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
    from .. import sessioncommands as known

    run_command(known.watch(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), offset, json))


def cancel(
    session_id: SessionId,
    job: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--job", metavar="JOB", help="Cancel only this job of it: its id, or the beginning of it."),
    ] = None,
    reason: Annotated[str, typer.Option(help="The reason, for those who follow the session.")] = "cancelled",
    url: Url = None,
    token: Token = None,
    tls_ca: TlsCa = None,
    header: Header = None,
    data_dir: DataDir = None,
) -> None:
    """Cancel a session, one of its jobs, or all sessions of a group; blocks may clean up.

    A session that has ended is left as it is. Of a group nothing that waits for its turn begins any more.
    """
    from .. import sessioncommands as known

    run_command(known.cancel(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), job, reason))


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
    from .. import sessioncommands as known

    run_command(known.outputs(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ()))))


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
    from .. import telling

    run_command(telling.show(session_id, node, Target(url, token, data_dir, tls_ca, tuple(header or ()))))


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
    from .. import telling

    run_command(telling.report(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), output, full))


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
    from .. import telling

    run_command(
        telling.export_session(session_id, Target(url, token, data_dir, tls_ca, tuple(header or ())), directory)
    )


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
    flows: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="DIR", help="A package, or what holds some: their flows can be started. Repeatable."),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> None:
    """See sessions in a browser, live: graph, previews, logs, errors, timeline, any earlier moment.

    Those of the mainframe, and of the last local runs unless --url or --data-dir says which mainframe is meant. Local
    runs are read from their journals: a run that was killed doesn't go on for being looked at.

    The address that is printed lets one browser in, once; it is opened where there is a display. Others log in with the
    token. What the token may do, the page may do: that of an observer can cancel nothing. Needs the extra 'page'.

    Flows are started on the mainframe with a form of their inputs: the examples, those in --flows, and each session's
    own once more. Their blocks run where an executor has their packages.
    """
    from .. import paging
    from ..served_tls import served_tls

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    tls = served_tls(tls_cert, tls_key)
    listen = paging.Listen(host, port, tls, tuple(allow_host or ()), not no_browser, tuple(flows or ()), until_eof)
    run_command(paging.page(session_id, target, listen))


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
    from .. import sessioncommands as known

    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    if context.invoked_subcommand is None:
        most = parse_limit(limit or ("all" if group else "20"))
        run_command(known.sessions(target, None if state is None else state.value, most, json, group))
    context.obj = target


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
    from .. import housekeeping

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
    run_command(housekeeping.prune(target, None if older is None else parse_duration(older), keep, json))
