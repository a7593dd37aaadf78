"""Values that wait for a consumer outlive a redeploy of the executor that has them; what can't says why."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ...engine.test_deploys import GATE, leaves, served, submitting, until_executors
from ...engine.test_packages import OUT, Package, out_of
from ...processes import Command, start
from ...waits import until_files

pytestmark = pytest.mark.timeout(240)
"""Each test starts up to six processes."""

MADE = """
import numpy as np
import pandas as pd

async def main(inputs, ctx):
    index = pd.MultiIndex.from_product([["a", "b"], range(5000)], names=["k", None])
    frame = pd.DataFrame({"x": np.arange(10000) / 7, "t": pd.date_range("2026", periods=10000, tz="UTC")}, index=index)
    await ctx.output(frame, "frame")
    shared = ctx.empty((1 << 18,), "f8")
    shared[:] = np.arange(1 << 18) / 3
    await ctx.output(shared, "array")
    await ctx.output(bytes(range(256)) * 100, "bytes")
    await ctx.output([{"n": n, "s": str(n), "f": n / 7, "b": n % 2 == 0, "o": None} for n in range(9000)], "rows")
    await ctx.output({"a": [1, 2**80, -0.0, (3, "x")], 5: {"ü": b"y"}}, "mixed")
"""
WAITS = """
import asyncio, os
async def main(inputs, ctx):
    print("running", os.getpid(), flush=True)
    while not os.path.exists(inputs["gate"]):
        await asyncio.sleep(0.02)
    return {"out": "go"}
"""
TAKES = """
import os
import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

async def main(inputs, ctx):
    index = pd.MultiIndex.from_product([["a", "b"], range(5000)], names=["k", None])
    frame = pd.DataFrame({"x": np.arange(10000) / 7, "t": pd.date_range("2026", periods=10000, tz="UTC")}, index=index)
    assert_frame_equal(inputs["frame"], frame)
    assert inputs["array"].dtype == np.dtype("f8") and (inputs["array"] == np.arange(1 << 18) / 3).all()
    assert type(inputs["bytes"]) is bytes and inputs["bytes"] == bytes(range(256)) * 100
    rows = [{"n": n, "s": str(n), "f": n / 7, "b": n % 2 == 0, "o": None} for n in range(9000)]
    assert inputs["rows"] == rows
    assert all([*map(type, a.values())] == [*map(type, b.values())] for a, b in zip(inputs["rows"], rows))
    assert repr(inputs["mixed"]) == repr({"a": [1, 2**80, -0.0, (3, "x")], 5: {"ü": b"y"}})
    print("taken", os.getpid())
    return {"out": "all equal"}
"""
VAR = {"contentMediaType": "oomol/var"}
HANDLES = ("frame", "array", "bytes", "rows", "mixed")


def package_of(tmp_path: Path, made: str = MADE, takes: str = TAKES, handles: tuple[str, ...] = HANDLES) -> Any:
    package = Package(tmp_path / "pack")
    package.block("made", made, outputs_def=[{"handle": each, "json_schema": VAR} for each in handles])
    package.block(
        "waits", WAITS, inputs_def=[{"handle": "gate", "value": str(tmp_path / GATE)}], outputs_def=OUT, retries=1
    )
    given = [*({"handle": each} for each in handles), {"handle": "go"}]
    package.block("takes", takes, inputs_def=given, outputs_def=OUT)
    links = [_link(each, "made", each) for each in handles] + [_link("go", "waits", "out")]
    nodes: list[dict[str, Any]] = [
        {"node_id": "made", "task": "self::made"},
        {
            "node_id": "waits",
            "task": "self::waits",
        },
        {"node_id": "takes", "task": "self::takes", "inputs_from": links},
    ]
    return package, package.flow(nodes, outputs_from=out_of("takes"))


def _link(handle: str, node: str, output: str) -> dict[str, Any]:
    return {"handle": handle, "from_node": [{"node_id": node, "output_handle": output}]}


def directories(tmp_path: Path, memory: str = "memory") -> dict[str, str]:
    (tmp_path / memory).mkdir(exist_ok=True)
    return {"ASYNCBLOCK_BODIES_DIR": str(tmp_path / "disk"), "ASYNCBLOCK_MEMORY_DIR": str(tmp_path / memory)}


@asynccontextmanager
async def executing(
    tmp_path: Path, package: Package, *options: str, memory: str = "memory", **environment: str
) -> AsyncIterator[Command]:
    arguments: tuple[str | Path, ...] = ("--data-dir", tmp_path / "data", "--package", package.root, *options)
    surroundings = {**directories(tmp_path, memory), **environment}
    async with start("executor", *arguments, state=tmp_path, **surroundings) as executor:
        await executor.until_line("executor for", err=True)
        yield executor


def files(tmp_path: Path) -> list[Path]:
    """Return the files of values."""
    found = [*tmp_path.glob("disk/asyncblock-values-*/v-*/*"), *tmp_path.glob("*memory/asyncblock-values-*/v-*/*")]
    return [path for path in found if path.is_file()]


async def until_gone(tmp_path: Path) -> None:
    await until_files(tmp_path, lambda: not files(tmp_path))


@pytest.mark.parametrize("how", ["redeployed", "in another container", "its command is killed"])
async def test_what_waits_for_a_consumer_is_had_by_the_executor_that_comes_next(tmp_path: Path, how: str) -> None:
    package, flow = package_of(tmp_path)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(served(tmp_path))
        first = await stack.enter_async_context(executing(tmp_path, package))
        await until_executors(data, 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        await submit.until_line("running")
        await submit.until_line('"handle":"mixed"')
        if how == "its command is killed":
            # Its child leaves in order.
            first.kill(signal.SIGKILL)
        else:
            await leaves(first)
        # The mainframe knows: what can be run now waits for another one.
        await until_executors(data, 0)
        (tmp_path / GATE).touch()
        assert await first.wait() == (-signal.SIGKILL if how == "its command is killed" else 0)
        assert sum(path.is_relative_to(tmp_path / "disk") for path in files(tmp_path)) == len(HANDLES)
        memory = "another memory" if how == "in another container" else "memory"
        second = await stack.enter_async_context(executing(tmp_path, package, memory=memory))
        assert await submit.wait() == 0, submit.out[-1]
        assert submit.events()[-1]["outputs"] == {"out": "all equal"}
        # The session has ended: whoever is there removes what was handed down.
        await until_gone(tmp_path)
        await leaves(second)
        assert await second.wait() == 0


async def test_what_is_here_comes_to_executors_that_take_the_place_of_others(tmp_path: Path) -> None:
    package, flow = package_of(tmp_path)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(served(tmp_path))
        executor = await stack.enter_async_context(executing(tmp_path, package, "--reload", "--accept", "any"))
        await until_executors(data, 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        maker = (await submit.until_line("running")).split("running ")[1].split('"')[0]
        await submit.until_line('"handle":"mixed"')
        package.write("blocks/takes/main.py", TAKES + "\nAFTER = 1\n")
        await executor.until_line("edited: pack is version", err=True)
        (tmp_path / GATE).touch()
        assert await submit.wait() == 0, submit.out[-1]
        assert submit.events()[-1]["outputs"] == {"out": "all equal"}
        assert f"taken {maker}" not in "".join(submit.out)
        await until_gone(tmp_path)


LOST = {
    "it isn't portable": ('await ctx.output({1, 2, 3}, "v")', {}),
    "bytes are left of the 1048576 that var values may take": (
        'await ctx.output(bytes(1 << 21), "v")',
        {"ASYNCBLOCK_VAR_DISK": "1M"},
    ),
    "bytes are left of the 0 that var values may take": (
        'await ctx.output(bytes(1 << 10), "v")',
        {"ASYNCBLOCK_VAR_DISK": "0"},
    ),
}


@pytest.mark.parametrize("why", LOST)
async def test_what_can_not_be_handed_down_is_lost_with_the_reason(tmp_path: Path, why: str) -> None:
    code, environment = LOST[why]
    package, flow = package_of(
        tmp_path, f"async def main(inputs, ctx):\n    {code}\n", "def main(inputs): return {'out': 1}", ("v",)
    )
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(served(tmp_path))
        first = await stack.enter_async_context(executing(tmp_path, package, **environment))
        await until_executors(data, 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        await submit.until_line("running")
        await submit.until_line('"handle":"v"')
        await leaves(first)
        # The mainframe knows: what can be run now waits for another one.
        await until_executors(data, 0)
        (tmp_path / GATE).touch()
        assert await first.wait() == 0
        await stack.enter_async_context(executing(tmp_path, package))
        assert await submit.wait() == 1
        error = submit.events()[-1]["error"]
        assert why in error and "asyncblock retry" in error and "handle 'v' of node made" in error, error
        assert files(tmp_path) == []


async def test_of_a_process_that_was_killed_nothing_is_had(tmp_path: Path) -> None:
    package, flow = package_of(tmp_path)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(served(tmp_path))
        await stack.enter_async_context(executing(tmp_path, package))
        await until_executors(data, 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        maker = (await submit.until_line("running")).split("running ")[1].split('"')[0]
        # Its end is stored: killed before it, the job itself would have failed.
        await submit.until_line('"BlockFinished"')
        os.kill(int(maker), signal.SIGKILL)
        # Only now, or the next job might have begun in it.
        (tmp_path / GATE).touch()
        assert await submit.wait() == 1
        error = submit.events()[-1]["error"]
        assert "in the memory of its executor's process: that process has ended" in error, error
        assert "asyncblock retry" in error and "anywhere else" not in error, error
