"""The examples of the flow language, run by name on real input; their figures are made another way and compared."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import importlib.util
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.examples import examples

from ..flows import all_of, end_of


async def run(name: str, *, workers: int = 0, **inputs: object) -> list[events.Event]:
    async with asyncblock.embedded(workers=workers) as mainframe:
        session = await mainframe.start(name, inputs)
        return [event async for event in session]


def outputs(found: list[events.Event]) -> dict[str, Any]:
    end = end_of(found)
    assert end.state == "succeeded", end.error
    return end.outputs


async def test_files_are_measured_side_by_side_and_added_up() -> None:
    found = await run("files", package="json")
    paths = sorted(Path(str(importlib.util.find_spec("json").origin)).parent.rglob("*.py"))  # type: ignore[union-attr]
    texts = [path.read_text("utf-8") for path in paths]
    total = outputs(found)["total"]
    assert total["files"] == len(paths)
    assert total["lines"] == sum(len(text.splitlines()) for text in texts)
    assert total["functions"] == sum(
        isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for text in texts
        for node in ast.walk(ast.parse(text))
    )
    began = [event for event in all_of(found, events.JobCreated) if event.node_id == "measure"]
    assert len(began) == len(paths)


async def test_a_package_that_is_not_there_fails_the_flow_with_its_name() -> None:
    end = end_of(await run("files", package="no_such_package"))
    assert "there is no package 'no_such_package' here" in str(end.error)


async def test_topics_are_mapped_over_and_sorted_by_a_condition() -> None:
    names = ["assert", "class", "del", "numbers", "try", "while"]
    found = await run("topics", workers=2, topics=names)
    words = {name: len(topics[name].split()) for name in names}
    expected = {}
    for which, chosen in (
        ("long", [n for n in names if words[n] > 500]),
        ("short", [n for n in names if words[n] <= 500]),
    ):
        best = max(chosen, key=lambda name: (words[name], name))
        expected[which] = {"topic": best, "words": words[best]}
    assert outputs(found) == expected
    [started] = all_of(found, events.FlowJobStarted)
    assert started.node_id == "map"


@pytest.mark.parametrize("module", ["argparse", "typing"])
async def test_a_flaky_block_is_tried_again_and_each_piece_goes_on_once(module: str) -> None:
    found = await run("digest", module=module)
    text = await asyncio.to_thread(Path(str(importlib.util.find_spec(module).origin)).read_text, "utf-8")  # type: ignore[union-attr]
    pieces = [text[start : start + (16 << 10)] for start in range(0, len(text), 16 << 10)]
    assert len(pieces) > 1
    digest = ""
    for piece in pieces:
        digest = hashlib.sha256((digest + piece).encode()).hexdigest()
    assert outputs(found)["digest"] == {"sha256": digest, "pieces": len(pieces)}
    ends = [event for event in all_of(found, events.BlockFinished) if event.node_id == "fetch"]
    assert [event.attempt for event in ends] == [1, 2, 3]
    assert ["broke down" in str(event.error) for event in ends] == [True, True, False]


async def test_an_error_that_is_not_retried_ends_the_flow_at_once() -> None:
    found = await run("digest", module="no_such_module")
    assert "there is no module 'no_such_module' here" in str(end_of(found).error)
    assert len(all_of(found, events.BlockFinished)) == 1


def test_every_example_is_listed() -> None:
    assert {"files", "topics", "digest", "stocks"} <= {example.name for example in examples()}
