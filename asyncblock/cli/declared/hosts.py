"""Commands that operate a mainframe or an executor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from ..finishing import run_command
from ..saying import log_as
from ..targets import Target
from .options import (
    Accept,
    DataDir,
    Header,
    Json,
    Label,
    LogAs,
    LogFormat,
    Offers,
    Synchronous,
    TlsCa,
    Token,
    Url,
)

if TYPE_CHECKING:
    from ..clusters import ClusterPlace

__all__ = [
    "backup",
    "doctor",
    "executor",
    "oocana_executor",
    "restore",
    "serve",
]


_Workers = Annotated[
    int, typer.Option(min=0, help="Executor processes to start beside; they serve the shipped examples.")
]
_Durability = Annotated[
    Synchronous, typer.Option(help="What is acknowledged survives kill -9 (normal) or power loss too (full).")
]
_TokenFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE", help="Further tokens: a line each, TOKEN and its roles (executor,client,observer)."),
]
_TlsCert = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="FILE", help="The certificate chain, PEM. Read again when it changes."),
]
_TlsKey = Annotated[Optional[Path], typer.Option(metavar="FILE", help="Its key, PEM.")]  # noqa: UP045
_Origins = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(metavar="URL", help="A web page's origin that may connect (https://HOST). Repeatable."),
]
_NoExecutorTimeout = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(min=0, metavar="SECONDS", help="How long a job waits for an executor with its package. Default: 30."),
]
_VersionTimeout = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="The same in a session that is under way, when a deploy has taken its code away. Default: an hour.",
    ),
]
_Otel = Annotated[
    bool,
    typer.Option(
        "--otel",
        envvar="ASYNCBLOCK_OTEL",
        help="Send spans and metrics to an OpenTelemetry collector; OTEL_EXPORTER_OTLP_ENDPOINT says where it is.",
    ),
]
_ClusterServers = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        envvar="ASYNCBLOCK_CLUSTER",
        metavar="SERVERS",
        help="Keep the journal in this NATS cluster: nats://USER:PASSWORD@A,B,C. 'asyncblock cluster init' first.",
    ),
]
_SetName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--name", metavar="SET", help="The set in that cluster, of which this is to be a member."),
]
_Partitions = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="How many partitions the set has to have; another number is refused."),
]
_Advertise = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="URL", help="Where others reach this member of a set: ws://HOST:PORT. Default: where it listens."
    ),
]


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 7788,
    data_dir: DataDir = None,
    workers: _Workers = 0,
    synchronous: _Durability = Synchronous.normal,
    token_file: _TokenFile = None,
    tls_cert: _TlsCert = None,
    tls_key: _TlsKey = None,
    origin: _Origins = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without TLS.")] = False,
    no_executor_timeout: _NoExecutorTimeout = None,
    version_timeout: _VersionTimeout = None,
    otel: _Otel = False,
    cluster: _ClusterServers = None,
    name: _SetName = None,
    partitions: _Partitions = None,
    advertise: _Advertise = None,
    log_format: LogFormat = LogAs.text,
) -> None:
    """Serve a mainframe until interrupted.

    Its own token, with all roles, is in the file 'token' of the data directory; commands on this machine find it there.
    GET /healthz and /metrics answer on the same port. Sessions that were running when it ended go on when it is back.

    With --cluster it is a member of a set: one of them serves, the others stand by and take over when it dies.
    """
    from .. import commands

    log_as(log_format)
    place = _cluster_place(cluster, name, partitions, advertise)
    level: Literal["normal", "full"] = "full" if synchronous is Synchronous.full else "normal"
    run_command(
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
            otel=otel,
            cluster=place,
        )
    )


def _cluster_place(
    cluster: str | None, name: str | None, partitions: int | None, advertise: str | None
) -> ClusterPlace | None:
    """Return where a member of a set keeps its journal; None for a mainframe of its own."""
    if cluster is not None and name is not None:
        from ..clusters import ClusterPlace

        return ClusterPlace(cluster, name, partitions, advertise)
    if any(each is not None for each in (cluster, name, partitions, advertise)):
        raise typer.BadParameter("a member of a set needs both: --cluster SERVERS (ASYNCBLOCK_CLUSTER) and --name SET")
    return None


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
    grace: Annotated[float, typer.Option(help="Seconds that running jobs get to end when it is told to leave.")] = 30.0,
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
    log_format: LogFormat = LogAs.text,
) -> None:
    """Run blocks for a mainframe until interrupted. The shipped examples are always served.

    A job comes here if its package has the same version here: the hash of its code, not of data. Where a session says
    that it waits for a version, --accept lets it go on under another one.

    Ctrl-C or SIGTERM: no new jobs, running ones have the grace, everything is acknowledged, then a line says what was
    done. A second one leaves at once.
    """
    from .. import commands
    from ..offered import Offered

    log_as(log_format)
    target = Target(url, token, data_dir, tls_ca, tuple(header or ()))
    offered = Offered.read(offers or (), label or ())
    run_command(
        commands.executor(target, tuple(package or ()), grace, sync_slots, tuple(accept or ()), reload, offered)
    )


def oocana_executor(context: typer.Context) -> None:
    """Run Python blocks under the oocana engine, which starts this itself, as python-executor."""
    from ...bridge.command import main

    main(context.args, "asyncblock oocana-executor")


def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the backup goes; it isn't there yet.")],
    data_dir: DataDir = None,
) -> None:
    """Copy a mainframe's data directory while it runs: one moment of its journal, with everything that it names.

    The mainframe isn't held up. DIR appears when it is whole. Exit codes: 0 it is made, 2 it can't be.
    """
    from .. import housekeeping

    run_command(housekeeping.backup(Target(data_dir=data_dir), directory))


def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A backup.")], data_dir: DataDir = None
) -> None:
    """Make a data directory of a backup, for 'asyncblock serve --data-dir'. One that is there is never overwritten.

    Executors and clients that were connected before are told that what came after the backup is gone.
    """
    from .. import housekeeping

    run_command(housekeeping.restore(Target(data_dir=data_dir), directory))


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
    from .. import housekeeping

    run_command(housekeeping.doctor(Target(url, token, data_dir, tls_ca, tuple(header or ())), json))
