"""``asyncblock wire``: the protocol's specification and what is generated from its types, for authors of peers."""

from __future__ import annotations

import inspect
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Optional

import orjson
import typer

__all__ = ["wire"]


def wire(
    json_schema: Annotated[
        bool, typer.Option("--json-schema", help="Print the JSON Schema (2020-12) of all that travels as JSON.")
    ] = False,
    asyncapi: Annotated[bool, typer.Option("--asyncapi", help="Print an AsyncAPI 3.0 document.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference page: messages, requests, limits, codes.")
    ] = False,
    sessions: Annotated[
        Optional[Path],  # noqa: UP045  # typer reads the annotation at run time
        typer.Option("--sessions", metavar="DIR", help="Write golden sessions there: whole exchanges, to replay."),
    ] = None,
) -> None:
    """Print the protocol's specification, for peers in other languages; or what is made of its types."""
    from .. import wire as specification
    from ..server.serverlimits import limits
    from ..server.settings import Settings
    from ..wire import describe

    if sum((json_schema, asyncapi, reference, sessions is not None)) > 1:
        raise typer.BadParameter("one of --json-schema, --asyncapi, --reference and --sessions at a time")
    if sessions is not None:
        _write_sessions(sessions)
    elif json_schema or asyncapi:
        made = describe.json_schema() if json_schema else describe.asyncapi()
        sys.stdout.buffer.write(orjson.dumps(made, option=orjson.OPT_INDENT_2) + b"\n")
    elif reference:
        print(describe.reference_page(limits(Settings())), end="")
    else:
        print(inspect.cleandoc(specification.__doc__ or ""))


def _write_sessions(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in resources.files("asyncblock.wire").joinpath("sessions").iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
            print(directory / file.name)
    except OSError as error:
        raise typer.BadParameter(f"can't write into {directory}: {error.strerror}") from error
