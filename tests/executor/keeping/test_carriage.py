"""Var values that go to other hosts: executors are processes that share neither memory nor disk directories."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.errors import FlowFailed, ValueLost
from asyncblock.server import MainframeServer
from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy, crash_at

from ...engine.test_packages import OUT, Package, out_of
from ...processes import Command, all_ended, free_port, start
from ...waits import until_files
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


async def on_host(
    stack: AsyncExitStack, tmp_path: Path, package: Package, host: str, *options: str, port: int = 0, label: str = ""
) -> Command:
    """Start an executor whose files of values no one on another ``host`` can open; jobs want its name as a label.

    It connects to ``port`` where that isn't the mainframe's own.
    """
    directories = {}
    for name, variable in ("memory", "ASYNCBLOCK_MEMORY_DIR"), ("disk", "ASYNCBLOCK_BODIES_DIR"):
        directories[variable] = str(tmp_path / host / name)
        (tmp_path / host / name).mkdir(parents=True, exist_ok=True)
    url = f"ws://127.0.0.1:{port}" if port else (tmp_path / "url").read_text()
    where: tuple[str | Path, ...] = ("--url", url, "--data-dir", tmp_path / "data")
    arguments = (*where, "--package", package.root, "--label", label or host, *options)
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


# ---------------------------------------------------------------------- who dies, and when


LARGE = """
import numpy as np
async def main(inputs, ctx):
    await ctx.output(np.arange(4_000_000), "v")
"""
TOTAL = sum(range(4_000_000))
SLOWLY = 1_000_000
"""Bytes a second on a line that something is to happen to meanwhile: half a minute for the value."""


def bodies(tmp_path: Path) -> list[int]:
    """Return how long the bodies are that the mainframe has."""
    return [path.stat().st_size for path in (tmp_path / "data" / "bodies").glob("*/*")]


async def until_uploading(tmp_path: Path) -> None:
    await until_files(tmp_path / "data" / "bodies", lambda: any(bodies(tmp_path)))
    assert max(bodies(tmp_path)) < 30_000_000


async def until_no_body(tmp_path: Path) -> None:
    await until_files(tmp_path / "data" / "bodies", lambda: not bodies(tmp_path))


async def killed(command: Command, *, but: int | None = None) -> None:
    """Kill a command with all that it has started, or only that."""
    pids = [pid for pid in command.family() if pid != but]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await all_ended(pids)


async def until_executors(mainframe: asyncblock.Mainframe, count: int) -> None:
    while (await mainframe.info())["executors"] != count:  # noqa: ASYNC110  # that one came is told to nobody else
        await asyncio.sleep(0.02)


async def proxy_to(stack: AsyncExitStack, tmp_path: Path) -> FaultProxy:
    port = int((tmp_path / "url").read_text().rpartition(":")[2])
    return await stack.enter_async_context(FaultProxy("127.0.0.1", port))


async def uploading(
    stack: AsyncExitStack, tmp_path: Path, mainframe: asyncblock.Mainframe, package: Package, flow: Any
) -> tuple[FaultProxy, Command, asyncblock.Session]:
    """Run a flow until its value is on its slow way from host "one" to host "two"; return what slows it, its maker too."""
    proxy = await proxy_to(stack, tmp_path)
    maker = await on_host(stack, tmp_path, package, "one", port=proxy.port)
    await on_host(stack, tmp_path, package, "two")
    await until_executors(mainframe, 2)
    proxy.drip(SLOWLY)
    session = await mainframe.start(flow)
    await until_uploading(tmp_path)
    return proxy, maker, session


@asynccontextmanager
async def served(tmp_path: Path, port: int, **environment: str) -> AsyncIterator[Command]:
    """Run a mainframe that is a process."""
    options: tuple[str | Path, ...] = ("--data-dir", tmp_path / "data", "--port", str(port))
    async with start("serve", *options, state=tmp_path, **environment) as serve:
        await serve.until_line("mainframe at", err=True)
        (tmp_path / "url").write_text(f"ws://127.0.0.1:{port}")
        yield serve


def connected(tmp_path: Path) -> Any:
    return asyncblock.connect((tmp_path / "url").read_text(), (tmp_path / "data" / "token").read_text().strip())


async def test_the_value_of_a_maker_that_is_killed_while_it_sends_is_made_again(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    package.block(
        "made",
        LARGE,
        outputs_def=[{"handle": "v", "json_schema": VAR}],
        needs={"labels": ["one"]},
        recompute=True,
    )
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, lease=1.0))
        _, maker, session = await uploading(stack, tmp_path, mainframe, package, flow)
        await killed(maker)
        await on_host(stack, tmp_path, package, "one")
        assert (await session.outputs())["out0"][1] == TOTAL
        # The next one on that host may have been asked before it had swept up, and says that the file is gone.
        [body] = [row["body"] for row in await rows_of(session, "ValueCarried") if "body" in row]
        assert body["length"] > 30_000_000


async def until_kinds(session: asyncblock.Session, *kinds: str) -> None:
    """Wait until there were such events."""
    left = [*kinds]
    async with asyncio.timeout(60):
        async for event in session:
            if (kind := event.to_json()["type"]) in left:
                left.remove(kind)
            if not left:
                return


GATED = """
import os, time
def main(inputs):
    total = int(inputs["v"].sum())
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "gate")):
        time.sleep(0.02)
    return {"out": [os.getpid(), total]}
"""


async def test_a_value_that_was_sent_outlives_its_maker_and_the_host_of_that(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, ONE, GATED, ("v",), 2)
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, lease=0.5))
        maker = await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two", "--sync-slots", "1")
        await until_executors(mainframe, 2)
        session = await mainframe.start(flow)
        await until_kinds(session, "ValueCarried")
        await killed(maker)
        await on_host(stack, tmp_path, package, "three", label="two")
        # The maker's job, and both that take the value.
        await until_kinds(session, *["BlockStarted"] * 3)
        package.write("blocks/takes/gate", "")
        outputs = await session.outputs()
        assert [total for _, total in outputs.values()] == [sum(range(100_000))] * 2
        assert len({pid for pid, _ in outputs.values()}) == 2
        assert len(await rows_of(session, "ValueCarried")) == 1
        # Nobody asks for it any more.
        await until_no_body(tmp_path)


async def test_a_mainframe_that_is_killed_meanwhile_goes_on_though_the_maker_is_the_last_to_come_back(
    tmp_path: Path,
) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    port = free_port()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(tmp_path, port))
        mainframe = await stack.enter_async_context(connected(tmp_path))
        proxy, _, session = await uploading(stack, tmp_path, mainframe, package, flow)
        proxy.stall_new()
        first.kill()
        await first.wait()
        before = max(bodies(tmp_path))
        await stack.enter_async_context(served(tmp_path, port))
        await until_executors(mainframe, 1)
        # What came of it is still there, and its maker goes on behind that.
        assert max(bodies(tmp_path)) == before > 0
        proxy.resume()
        assert (await session.outputs())["out0"][1] == TOTAL
        assert len(await rows_of(session, "ValueCarried")) == 1


async def test_a_mainframe_that_is_killed_before_it_hands_a_sent_value_out_does_so_afterwards(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, ONE, SUM, ("v",))
    port = free_port()
    async with AsyncExitStack() as stack:
        # The first dispatch is the maker's.
        first = await stack.enter_async_context(served(tmp_path, port, **crash_at("before_dispatch", 2)))
        mainframe = await stack.enter_async_context(connected(tmp_path))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        await until_executors(mainframe, 2)
        session = await mainframe.start(flow)
        assert await first.wait() == -signal.SIGKILL
        [length] = bodies(tmp_path)
        await stack.enter_async_context(served(tmp_path, port))
        assert (await session.outputs())["out0"][1] == sum(range(100_000))
        [carried] = await rows_of(session, "ValueCarried")
        assert carried["body"]["length"] == length


async def test_a_mainframe_that_is_killed_before_it_deletes_a_body_does_so_afterwards(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, ONE, SUM, ("v",))
    port = free_port()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(tmp_path, port, **crash_at("before_deletion")))
        mainframe = await stack.enter_async_context(connected(tmp_path))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        await until_executors(mainframe, 2)
        session = await mainframe.start(flow)
        assert await first.wait() == -signal.SIGKILL
        assert len(bodies(tmp_path)) == 1
        await stack.enter_async_context(served(tmp_path, port))
        assert (await session.outputs())["out0"][1] == sum(range(100_000))
        await until_no_body(tmp_path)


async def test_a_consumer_that_is_killed_while_it_fetches_leaves_nothing_and_another_one_fetches_it(
    tmp_path: Path,
) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, lease=1.0))
        proxy = await proxy_to(stack, tmp_path)
        await on_host(stack, tmp_path, package, "one")
        consumer = await on_host(stack, tmp_path, package, "two", port=proxy.port)
        await until_executors(mainframe, 2)
        proxy.drip(SLOWLY)
        session = await mainframe.start(flow)
        await until_files(tmp_path / "two", lambda: drafts(tmp_path))
        await killed(consumer, but=consumer.process.pid)
        assert len(drafts(tmp_path)) == 1
        assert (await session.outputs())["out0"][1] == TOTAL
        assert len(await rows_of(session, "ValueCarried")) == 1
        # What the killed one has begun, too.
        await until_gone(tmp_path)


def drafts(tmp_path: Path) -> list[Path]:
    """Return files of values that aren't whole."""
    return [*tmp_path.glob("two/*/asyncblock-values-*/v-*/*.*")]


async def test_a_session_that_is_cancelled_lets_its_makers_send_what_others_want(tmp_path: Path) -> None:
    package, flow = flow_of(tmp_path, LARGE, SUM, ("v",))
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path, cancel_grace=0.1))
        proxy, _, session = await uploading(stack, tmp_path, mainframe, package, flow)
        await session.cancel("enough")
        with pytest.raises(FlowFailed, match="cancelled"):
            await session.outputs()
        # It isn't sent to its end: at this pace there is a good part of it left.
        sent = max(bodies(tmp_path))
        proxy.drip(None)
        await until_no_body(tmp_path)
        assert 0 < sent < 30_000_000
        assert (await (await mainframe.start(flow)).outputs())["out0"][1] == TOTAL
        await until_no_body(tmp_path)
        await until_gone(tmp_path)


GONE_ON = """
import asyncio, os
async def main(inputs, ctx):
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "gate")):
        await asyncio.sleep(0.02)
    return {"out": inputs["x"]}
"""


async def test_a_body_goes_when_no_job_can_ask_for_it_though_its_session_goes_on(tmp_path: Path) -> None:
    package, _ = flow_of(tmp_path, ONE, SUM, ("v",))
    package.block("waits", GONE_ON, inputs_def=[{"handle": "x"}], outputs_def=OUT)
    nodes = [
        {"node_id": "made", "task": "self::made"},
        {"node_id": "takes", "task": "self::takes", "inputs_from": [link("v", "made", "v")]},
        {"node_id": "waits", "task": "self::waits", "inputs_from": [link("x", "takes", "out")]},
    ]
    flow = package.flow(nodes, outputs_from=out_of("waits"))
    async with AsyncExitStack() as stack:
        mainframe = await stack.enter_async_context(serving(tmp_path))
        await on_host(stack, tmp_path, package, "one")
        await on_host(stack, tmp_path, package, "two")
        await until_executors(mainframe, 2)
        session = await mainframe.start(flow)
        await until_kinds(session, "ValueCarried", *["BlockStarted"] * 3)
        await until_no_body(tmp_path)
        [told] = await mainframe.sessions()
        assert told.bytes < 100_000
        package.write("blocks/waits/gate", "")
        assert (await session.outputs())["out"][1] == sum(range(100_000))
