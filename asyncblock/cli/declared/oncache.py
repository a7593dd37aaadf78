"""Commands about the cache of results."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from ..finishing import run_command
from ..typedvalues import parse_duration
from .options import (
    Json,
)

__all__ = [
    "cache",
    "prune_cache",
]


def cache(context: typer.Context, json: Json = False) -> None:
    """Say where results are kept on this machine, how many, and how large they are."""
    from .. import cache as caching

    if context.invoked_subcommand is None:
        run_command(caching.show(json))


def prune_cache(
    older: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="AGE", help="Remove what wasn't used for this long: 90s, 15m, 12h, 30d, 2w."),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    json: Json = False,
) -> None:
    """Remove kept results. Blocks that run may go on writing and reading."""
    from .. import cache as caching

    if (older is None) is not all:
        raise typer.BadParameter("say which results may go: --older AGE, or --all")
    run_command(caching.prune(None if older is None else parse_duration(older), json))
