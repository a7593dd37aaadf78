"""Blocks written for ``oocana`` as flows for tests, run in an executor process of a real mainframe."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of, node, run_flow, write_flow

__all__ = ["BOTH", "OUT", "Ending", "package", "run", "run_each"]

BOTH = pytest.mark.parametrize("form", ["async def", "def"])
OUT: dict[str, Any] = {"outputs_def": [{"handle": "out"}]}


async def run(
    directory: Path,
    source: str,
    outputs: list[Any] | None = None,
    inputs_from: list[dict[str, Any]] | None = None,
    **environment: str,
) -> list[events.Event]:
    """Run one block in a process of its own and return all events."""
    outputs = ["out"] if outputs is None else outputs
    names = [each if isinstance(each, str) else each["handle"] for each in outputs]
    defs = [{"handle": each["handle"]} for each in inputs_from or ()]
    flow = write_flow(
        directory,
        [node("n", source, directory, outputs=outputs, inputs=defs, inputs_from=inputs_from or ())],
        outputs_from=[{"handle": name, "from_node": [{"node_id": "n", "output_handle": name}]} for name in names],
    )
    return await run_flow(flow, workers=1)


class Ending(NamedTuple):
    """How a block of its own flow ended."""

    state: str
    outputs: dict[str, Any]
    error: str | None
    told: list[str]


async def run_each(directory: Path, nodes: Callable[[Path, int], dict[str, Any]], count: int) -> list[Ending]:
    """Run blocks one after the other, each as a flow, in one process; return how each ended."""
    found = []
    async with asyncblock.embedded(workers=1) as mainframe:
        for number in range(count):
            place = directory / f"number{number}"
            outputs = [{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
            flow = write_flow(place, [nodes(place, number)], outputs_from=outputs)
            session = await mainframe.start(flow)
            told = [event async for event in session]
            [finished] = all_of(told, events.BlockFinished)
            errors = [each.error for each in all_of(told, events.BlockError)]
            found.append(Ending(end_of(told).state, end_of(told).outputs, finished.error, errors))
    return found


def package(root: Path, blocks: dict[str, tuple[str, dict[str, Any]]], nodes: list[dict[str, Any]]) -> Path:
    """Write a package of blocks and a flow of it."""
    (root / "package.oo.yaml").parent.mkdir(parents=True, exist_ok=True)
    (root / "package.oo.yaml").write_text("name: mine\nversion: 0.0.1\n")
    for name, (source, manifest) in blocks.items():
        directory = root / "blocks" / name
        directory.mkdir(parents=True)
        (directory / "main.py").write_text(textwrap.dedent(source))
        executor = {"name": "python", "options": {"entry": "main.py"}}
        (directory / "block.oo.yaml").write_text(yaml.safe_dump({"executor": executor, **manifest}))
    flow = root / "flows" / "main" / "flow.oo.yaml"
    flow.parent.mkdir(parents=True)
    outputs = [
        {"handle": "out", "from_node": [{"node_id": each["node_id"], "output_handle": "out"}]}
        for each in nodes
        if "task" in each
    ]
    flow.write_text(yaml.safe_dump({"nodes": nodes, "outputs_from": outputs[:1]}))
    return flow
