"""One value of every kind that is claimed, shown; the ones that must run are listed, so that none is skipped unseen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from asyncblock import embedded, events
from asyncblock.examples import find
from asyncblock.examples.kinds import KINDS, missing
from asyncblock.preview import registry

from ..showing import show

DEV = {
    "altair", "animation", "array", "arrow", "axes", "bytes of a picture", "categorical", "colours", "displayed", "figure",
    "frame", "grey", "groups", "index", "json", "lazy", "lines", "moving picture", "narwhals", "picture", "picture of 16 bits",
    "plotly", "polars", "rich", "several figures", "several things", "styled", "text", "typed",
}  # fmt: skip
"""Kinds whose libraries come with the extra ``dev``."""

# ``ASYNCBLOCK_GALLERY=all`` where the extra ``gallery`` is installed: then no kind may be missing.
MUST = set(KINDS) if os.environ.get("ASYNCBLOCK_GALLERY") == "all" else DEV


def test_what_must_run_is_installed() -> None:
    assert {name: missing(KINDS[name]) for name in MUST if missing(KINDS[name])} == {}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")  # of the libraries, all of which are others'
def test_a_kind_is_shown_as_it_is_claimed(name: str) -> None:
    kind = KINDS[name]
    if missing(kind):
        pytest.skip(f"without {', '.join(missing(kind))}")
    made = show(kind.make())
    assert made["type"] == kind.type
    assert not re.search("object at 0x", str(made["data"])[:100_000])
    assert ("needs" in made) == ("network" in kind.shown or name in ("plotly", "altair"))
    if kind.type == "image":
        urls = made["data"] if isinstance(made["data"], list) else [made["data"]]
        assert all(url.startswith("data:image/") and len(url) > 200 for url in urls)


def _rows() -> list[list[str]]:
    """Return the rows of the table of kinds in docs/previews.md."""
    page = (Path(__file__).parents[3] / "docs" / "previews.md").read_text()
    table = page.split("<!-- kinds:")[1].split("<!-- end of kinds -->")[0].splitlines()[3:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_docs_have_a_row_for_each_kind() -> None:
    claimed = [[name, ", ".join(kind.libraries), kind.type, kind.shown, kind.left_out] for name, kind in KINDS.items()]
    # Whether a preview needs the network is known only where its library is installed.
    assert [[name, libraries, made.split(",")[0], *rest] for name, libraries, made, *rest in _rows()] == claimed


def test_each_library_that_a_converter_is_registered_for_has_a_row() -> None:
    registered = {entry.kind.partition(".")[0] for entry in registry._builtin if isinstance(entry.kind, str)}
    assert "pandas" in registered
    assert registered <= {library for _, libraries, *_ in _rows() for library in libraries.split(", ")}


def test_the_example_has_a_block_for_each_kind() -> None:
    path = find("gallery")
    assert path is not None
    nodes = yaml.safe_load(path.read_text())["nodes"]
    assert [node["inputs_from"][0]["value"] for node in nodes] == list(KINDS)


@pytest.mark.timeout(300)
@pytest.mark.skipif(os.environ.get("ASYNCBLOCK_GALLERY") != "all", reason="runs with the extra gallery")
@pytest.mark.filterwarnings("ignore")
async def test_the_example_shows_every_kind() -> None:
    shown: dict[str, Any] = {}
    async with embedded() as mainframe:
        session = await mainframe.start("gallery")
        async for event in session.events():
            if isinstance(event, events.BlockPreview):
                shown[event.node_id] = (event.about or event.payload)["type"]
            # A machine that is busy has blocks that stall.
            assert not isinstance(event, events.BlockWarning) or "event loop" in event.warning, event.warning
    assert shown == {name.replace(" ", "_"): kind.type for name, kind in KINDS.items()}
