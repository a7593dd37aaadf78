"""The example ``library``: a service that many calls are made of, against the files themselves."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ..flows import all_of, end_of

WORDS = ["websocket", "checksum", "timeout", "unicode", "no_such_word_anywhere"]


def modules_with(word: str) -> list[str]:
    whole = re.compile(rf"\b{word}\b".encode())
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path.stem for path in root.glob("*.py") if whole.search(path.read_bytes().lower()))


async def test_all_words_are_answered_by_one_service(tmp_path: Path) -> None:
    async with asyncblock.embedded(tmp_path) as mainframe:
        found = [event async for event in await mainframe.start("library", {"words": WORDS})]
    end = end_of(found)
    assert end.state == "succeeded", end.error
    assert end.outputs["modules"] == {word: modules_with(word) for word in sorted(WORDS)}
    assert end.outputs["modules"]["timeout"]
    assert len([e for e in all_of(found, events.BlockStarted) if e.node_id == "find"]) == len(WORDS)
    assert [e.id for e in all_of(found, events.BlockPreview)] == ["gathered"] * len(WORDS)


async def test_a_word_that_is_none_is_named(tmp_path: Path) -> None:
    async with asyncblock.embedded(tmp_path) as mainframe:
        end = await (await mainframe.start("library", {"words": ["two words"]})).wait()
    assert "'two words' is no word that can be looked for" in (end.error or "")


@pytest.mark.parametrize("name", ["crossover", "library"])
def test_the_examples_are_listed(name: str) -> None:
    from asyncblock.examples import examples, find

    assert name in {example.name for example in examples()}
    assert find(name) is not None
