"""Commands about a set of mainframes in a NATS cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..finishing import run_command
from .options import Json

__all__ = ["hand_over", "import_directory", "init", "status"]

Servers = Annotated[
    str,
    typer.Argument(
        envvar="ASYNCBLOCK_CLUSTER",
        metavar="SERVERS",
        help="The NATS servers: nats://USER:PASSWORD@A,B,C, or tls://... The environment keeps passwords out of 'ps'.",
    ),
]
SetName = Annotated[str, typer.Option("--name", metavar="SET", help="The set's name: letters, digits and '-'.")]


def init(
    servers: Servers,
    name: SetName,
    partitions: Annotated[
        int, typer.Option(min=1, help="Parts of the set, each with an owner of its own. So far a set has one.")
    ] = 1,
    replicas: Annotated[
        int, typer.Option(min=1, help="Servers that hold everything: 3 bear the death of one, 5 of two.")
    ] = 3,
    max_bytes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="SIZE", help="The most that each of its two streams may take: 50GiB. Default: no limit."),
    ] = None,
    monitoring: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="URLS",
            help="The monitoring of each server, http://A:8222,http://B:8222: asked whether it syncs always.",
        ),
    ] = None,
    sync_always: Annotated[
        bool, typer.Option("--sync-always", help="Say that each server has 'sync_interval: always'.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept servers on other machines that ask for no credentials.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a set in a NATS cluster: its streams and its bucket, for 'asyncblock serve --cluster SERVERS --name SET'.

    A cluster that can't keep what it acknowledges is refused, with the name of the setting. What is there stays as it
    is. Exit codes: 0 it is made, 2 it isn't.
    """
    from .. import clusters

    run_command(
        clusters.init(
            servers,
            name,
            partitions=partitions,
            replicas=replicas,
            max_bytes=max_bytes,
            monitoring=monitoring,
            sync_always=sync_always,
            insecure=insecure,
            json=json,
        )
    )


def status(servers: Servers, name: SetName, json: Json = False) -> None:
    """Examine a set: a line for each thing, "ok" or what to do. Servers, streams, replicas, limits, members, clocks.

    Exit codes: 0 all is well, 1 something isn't, 2 bad usage or no such set.
    """
    from .. import clusters

    run_command(clusters.status(servers, name, json))


def hand_over(
    servers: Servers,
    name: SetName,
    to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="MEMBER", help="The member that is to take over: a name or an address from 'cluster status'."
        ),
    ] = None,
) -> None:
    """Let the owner of a set store what it has and hand over to one that stands by: before its machine is updated, say.

    Exit codes: 0 that one owns it, 1 another does, 2 no member stands by, or none answers.
    """
    from .. import clusters

    run_command(clusters.hand_over(servers, name, to))


def import_directory(
    servers: Servers,
    data_dir: Annotated[Path, typer.Argument(metavar="DATA_DIR", help="Of a mainframe with a journal of its own.")],
    name: SetName,
    json: Json = False,
) -> None:
    """Copy the sessions of a data directory that have ended into a set, while none of its mainframes runs.

    The data directory may be in use, and stays as it is. What the set has already isn't copied again.
    Exit codes: 0 all are there, 1 some hadn't ended and aren't, 2 nothing can be copied, or not all could.
    """
    from .. import clusters

    run_command(clusters.import_directory(servers, name, data_dir, json))
