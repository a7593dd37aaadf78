"""Var values that go to other hosts: executors are processes that share neither memory nor disk directories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.errors import ValueLost
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings

from ..engine.test_packages import OUT, Package, out_of
from ..processes import Command, start
from .test_handingdown import MADE as MADE_ALL
from .test_handingdown import TAKES as TAKES_ALL
from .test_handingdown import VAR

pytestmark = pytest.mark.timeout(240)
"""Each test starts up to four processes."""

HANDLES = ("frame", "array", "bytes", "mixed")
MADE = "".join(line for line in MADE_ALL.splitlines(keepends=True) if "rows" not in line)
TAKES = "".join(line for line in TAKES_ALL.splitlines(keepends=True) if "rows" not in line)
"""Without what has so many members that it isn't moved while its process lives."""


@asynccontextmanager
async def serving(tmp_path: Path, **settings: Any) -> AsyncIterator[asyncblock.Mainframe]:
    data = tmp_path / "data"
    async with (
        MainframeServer(data, Settings(**settings)) as server,
        server.listen("127.0.0.1", 0) as url,
        asyncblock.connect(url, (data / "token").read_text().strip()) as mainframe,
    ):
        (tmp_path / "url").write_text(url)
        yield mainframe


async def on_host(stack: AsyncExitStack, tmp_path: Path, package: Package, host: str, *options: str) -> Command:
    """Start an executor whose files of values no one on another ``host`` can open; jobs want its name as a label."""
    directories = {}
    for name, variable in ("memory", "ASYNCBLOCK_MEMORY_DIR"), ("disk", "ASYNCBLOCK_BODIES_DIR"):
        directories[variable] = str(tmp_path / host / name)
        (tmp_path / host / name).mkdir(parents=True, exist_ok=True)
    where: tuple[str | Path, ...] = ("--url", (tmp_path / "url").read_text(), "--data-dir", tmp_path / "data")
    arguments = (*where, "--package", package.root, "--label", host, *options)
    executor = await stack.enter_async_context(start("executor", *arguments, state=tmp_path, **directories))
    await executor.until_line("executor for", err=True)
    return executor


def link(handle: str, node_id: str, output: str) -> dict[str, Any]:
    return {"handle": handle, "from_node": [{"node_id": node_id, "output_handle": output}]}


def flow_of(tmp_path: Path, made: str, takes: str, handles: tuple[str, ...], takers: int = 1, **needs: Any) -> Any:
    """Return a package and a flow: one node makes values on host one, the others take them on host two."""
    package = Package(tmp_path / "pack")
    package.block(
        "made", made, outputs_def=[{"handle": each, "json_schema": VAR} for each in handles], needs={"labels": ["one"]}
    )
    given = [{"handle": each} for each in handles]
    package.block("takes", takes, inputs_def=given, outputs_def=OUT, **({"needs": {"labels": ["two"]}} | needs))
    links = [link(each, "made", each) for each in handles]
    nodes: list[dict[str, Any]] = [{"node_id": "made", "task": "self::made"}]
    nodes += [{"node_id": f"takes{n}", "task": "self::takes", "inputs_from": links} for n in range(takers)]
    outputs = [{"handle": f"out{n}", "from_node": out_of(f"takes{n}")[0]["from_node"]} for n in range(takers)]
    return package, package.flow(nodes, outputs_from=outputs)


async def rows_of(session: asyncblock.Session, kind: str) -> list[dict[str, Any]]:
    return [event.to_json() async for event in session if event.to_json()["type"] == kind]


async def until_gone(tmp_path: Path) -> None:
    """Wait until no host has files of values."""
    async with asyncio.timeout(20):
        while [*tmp_path.glob("*/*/asyncblock-values-*/v-*/*")]:  # noqa: ASYNC110  # nobody is told of it
            await asyncio.sleep(0.02)


async def test_what_is_portable_comes_to_another_host_as_it_was(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, MADE, TAKES, HANDLES, takers=3)
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        session = await mainframe.start(flow)
        assert await session.outputs() == {f"out{n}": "all equal" for n in range(3)}
        carried = await rows_of(session, "ValueCarried")
        # Each was sent once, for all three.
        assert len(carried) == len({each["place"] for each in carried}) == len(HANDLES)
        assert all(each["body"]["link"] for each in carried)
        await until_gone(tmp_path)


ONE = """
import os
import numpy as np
async def main(inputs, ctx):
    await ctx.output(np.arange(100_000), "v")
"""
SUM = """
import os
def main(inputs):
    return {"out": [os.getpid(), int(inputs["v"].sum())]}
"""


async def test_a_value_that_is_over_the_limit_is_told_with_the_setting(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, ONE, SUM, ("v",))
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, carried_bytes=1000))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        session = await mainframe.start(flow)
        with pytest.raises(ValueLost, match=r"may go there \(the mainframe's setting carried_bytes\)"):
            await session.outputs()


async def test_a_value_that_would_be_too_much_for_its_session_is_told_with_the_setting(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, ONE, SUM, ("v",))
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, session_bytes=500_000))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        session = await mainframe.start(flow)
        with pytest.raises(ValueLost, match=r"500000 may be \(the mainframe's setting session_bytes\)"):
            await session.outputs()


async def test_it_is_sent_once_for_all_executors_of_another_host(tmp_path: Path) -> None:
    package, flow = flow_of(
        tmp_path, ONE, SUM.replace("os.getpid()", "sum(range(3_000_000)) and os.getpid()"), ("v",), 6
    )
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path))
        await on_host(stack, tmp_path, package, "one")
        for _ in range(2):
            await on_host(stack, tmp_path, package, "two", "--sync-slots", "1")
        while (await mainframe.info())["executors"] != 3:  # noqa: ASYNC110  # that one came is told to nobody else
            await asyncio.sleep(0.02)
        session = await mainframe.start(flow)
        outputs = await session.outputs()
        assert {total for _, total in outputs.values()} == {sum(range(100_000))}
        assert len({pid for pid, _ in outputs.values()}) == 2
        assert len(await rows_of(session, "ValueCarried")) == 1
        await until_gone(tmp_path)
