"""DataFrames on var handles that a later run may take."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import asyncblock
from asyncblock import Context, Flow, SyncContext, events
from asyncblock.client import Mainframe
from asyncblock.context import JobDirectories
from asyncblock.context.dataframes import cache_name, is_dataframe, is_kept, load, retain, save
from asyncblock.errors import Unavailable
from asyncblock.store import StoreKey

from ..flows import end_of, warnings_of

VAR = {"contentMediaType": "oomol/var"}
KEPT = [{"handle": "out", "json_schema": VAR, "_serialize_for_cache": True}]
LOST = [{"handle": "out", "json_schema": VAR}]
FRAME = pd.DataFrame(
    {
        "n": [1, 2, None],
        "s": ["a", None, "ü"],
        "t": pd.to_datetime(["2024-01-01", "2024-01-03", "2024-02-29"], utc=True),
    },
    index=pd.Index([3, 1, 2], name="key"),
)


@pytest.fixture(autouse=True)
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASYNCBLOCK_VALUES_DIR", str(tmp_path / "values"))
    return tmp_path / "values"


@pytest.fixture
async def mainframe(tmp_path: Path) -> AsyncIterator[Mainframe]:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        yield mainframe


@asyncblock.block(inputs=[{"handle": "frame"}], outputs=KEPT)
async def makes(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(FRAME if inputs["frame"] else object(), "out")


@asyncblock.block(inputs=[{"handle": "frame"}], outputs=KEPT)
def makes_sync(inputs: Mapping[str, Any], ctx: SyncContext) -> dict[str, Any]:
    return {"out": FRAME if inputs["frame"] else object()}


@asyncblock.block(inputs=[{"handle": "frame"}], outputs=KEPT)
async def makes_odd(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(pd.DataFrame({"mixed": [1, "two", object()]}), "out")


@asyncblock.block(inputs=[{"handle": "frame"}], outputs=LOST)
async def makes_unkept(inputs: Mapping[str, Any], ctx: Context) -> None:
    await ctx.output(FRAME, "out")


@asyncblock.block(inputs=[{"handle": "x"}], outputs=[{"handle": "same"}])
async def takes(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    pd.testing.assert_frame_equal(inputs["x"], FRAME)
    return {"same": inputs["x"] is FRAME}


async def sent(mainframe: Mainframe, block: Any, frame: bool = True) -> tuple[Any, list[events.AnyEvent]]:
    """Run a block that puts out a var value; return what travelled, and the events."""
    flow = Flow("frames")
    node = flow.node(block, inputs={"frame": frame}, node_id="makes")
    flow.output("o", node["out"])
    found = [event async for event in await mainframe.start(flow)]
    return end_of(found).outputs.get("o"), found


async def given(mainframe: Mainframe, value: object) -> events.SessionFinished:
    flow = Flow("takes")
    flow.output("same", flow.node(takes, inputs={"x": value})["same"])
    return end_of([event async for event in await mainframe.start(flow)])


@pytest.mark.parametrize("block", [makes, makes_sync], ids=["async", "sync"])
async def test_a_dataframe_is_there_for_a_later_run(tmp_path: Path, values: Path, block: Any) -> None:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        travelled, _ = await sent(mainframe, block)
        assert travelled["cache"].endswith(".pandas")
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        end = await given(mainframe, travelled)
    assert (end.state, end.outputs) == ("succeeded", {"same": False}), end.error
    assert [path.name for path in values.iterdir()] == [f"{travelled['cache']}.parquet"]


async def test_only_what_the_flow_wants_is_kept(mainframe: Mainframe, values: Path) -> None:
    for block, frame in ((makes_unkept, True), (makes, False)):
        travelled, _ = await sent(mainframe, block, frame)
        assert "cache" not in travelled
    assert not values.exists()


async def test_a_frame_that_parquet_cannot_hold_is_a_warning(mainframe: Mainframe, values: Path) -> None:
    _, found = await sent(mainframe, makes_odd)
    assert end_of(found).state == "succeeded"
    [warning] = warnings_of(found)
    assert "the value of handle 'out' can't be kept for later runs" in warning
    assert list(values.iterdir()) == []


async def test_a_kept_value_that_is_gone_says_what_to_do(mainframe: Mainframe, values: Path) -> None:
    travelled, _ = await sent(mainframe, makes)
    # Its session is over, and with it the value in the process.
    await given(mainframe, 1)
    (values / f"{travelled['cache']}.parquet").unlink()
    end = await given(mainframe, travelled)
    assert "isn't there; run the flow without its cache" in (end.error or "")


def test_names_from_outside_read_nothing_else(tmp_path: Path) -> None:
    for name in ("../x.pandas", "x.os", "/etc/passwd", "", "a.pandas/../../b.pandas"):
        with pytest.raises(Unavailable, match="no name of a kept value"):
            load(tmp_path, name)


def named(session: str, place: int = 0, node: str = "node") -> str:
    return cache_name("flow", node, StoreKey("asyncblock", "handle", "job", session, 1, place), FRAME)


def test_each_value_has_its_file_and_those_of_old_sessions_go(tmp_path: Path) -> None:
    directory = JobDirectories({"ASYNCBLOCK_VALUES_DIR": str(tmp_path)}).values_dir()
    other = named("s1", node="other")
    save(directory, other, FRAME)
    for session in ("s1", "s2", "s3"):
        for place in range(3):
            save(directory, named(session, place), FRAME.head(place))
            os.utime(directory / f"{named(session, place)}.parquet", (0, 1000 * int(session[1])))
    for place in range(3):
        assert not is_kept(directory, named("s1", place))
        for session in ("s2", "s3"):
            pd.testing.assert_frame_equal(load(directory, named(session, place)), FRAME.head(place))
    assert is_kept(directory, other)
    assert not is_dataframe({"DataFrame": 1})


def test_what_nothing_refers_to_is_removed(tmp_path: Path) -> None:
    for session, place in (("s1", 0), ("s1", 1), ("s2", 0), ("s2", 1)):
        save(tmp_path, named(session, place), FRAME)
    retain(tmp_path, "s2", {named("s2", 1)}, {named("s1", 0)})
    assert {path.stem for path in tmp_path.iterdir()} == {named("s1", 1), named("s2", 1)}


def test_a_key_says_where_its_value_is_kept_and_is_the_same_without() -> None:
    key = StoreKey("asyncblock", "h", "j", "s")
    kept = dataclasses.replace(key, cache="c.pandas")
    assert key == kept
    for each in (key, kept):
        match = StoreKey.match(each.to_json())
        assert match is not None
        assert (match, match.cache) == (each, each.cache)
    assert StoreKey.match({**key.to_json(), "more": 1}) is None
