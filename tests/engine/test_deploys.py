"""A deploy in the middle of a session: what waits says so at once, and goes on when its code is back or accepted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.blockcode.packages import package_hash

from ..processes import Command, free_port, start, start_module
from .test_packages import OUT, Package, out_of

WAITS = """
import asyncio, os
async def main(inputs, ctx):
    print("running", os.getpid(), flush=True)
    while not os.path.exists(inputs["gate"]):
        await asyncio.sleep(0.02)
    return {"out": "old"}
"""
GATE = "gate"
SOON = 2.0
"""Seconds after which nothing may be silent any more."""

pytestmark = pytest.mark.timeout(240)
"""Each test starts up to six processes."""


def a_package(tmp_path: Path) -> tuple[Package, Path]:
    package = Package(tmp_path / "pack")
    package.block("waits", WAITS, inputs_def=[{"handle": "gate", "value": str(tmp_path / GATE)}], outputs_def=OUT)
    package.block("says", "def main(inputs): return {'out': 'first'}", inputs_def=[{"handle": "x"}], outputs_def=OUT)
    link = {"handle": "x", "from_node": out_of("one")[0]["from_node"]}
    nodes: list[dict[str, Any]] = [
        {"node_id": "one", "task": "self::waits"},
        {"node_id": "two", "task": "self::says", "inputs_from": [link]},
    ]
    return package, package.flow(nodes, outputs_from=out_of("two"))


def edit(package: Package, word: str) -> str:
    """Change what the second block says; return the package's version."""
    package.write("blocks/says/main.py", f"def main(inputs): return {{'out': {word!r}}}")
    return package_hash(package.root)[:12]


@asynccontextmanager
async def served(tmp_path: Path, *options: str) -> AsyncIterator[Path]:
    data = tmp_path / "data"
    async with start("serve", "--data-dir", data, "--port", str(free_port()), *options, state=tmp_path) as serve:
        await serve.until_line("mainframe at", err=True)
        yield data


@asynccontextmanager
async def executing(tmp_path: Path, package: Package, *options: str) -> AsyncIterator[Command]:
    arguments: tuple[str | Path, ...] = ("--data-dir", tmp_path / "data", "--package", package.root, *options)
    async with start("executor", *arguments, state=tmp_path) as executor:
        await executor.until_line("executor for", err=True)
        yield executor


def submitting(tmp_path: Path, flow: Path, *options: str) -> Any:
    return start("submit", flow, "--data-dir", tmp_path / "data", *options, state=tmp_path)


async def until_executors(data: Path, count: int) -> None:
    """Wait until so many have said what they can run."""
    url = orjson.loads((data / "address").read_bytes())["url"]
    async with asyncblock.connect(url, (data / "token").read_text().strip()) as mainframe:
        while (await mainframe.info())["executors"] != count:  # noqa: ASYNC110  # that one came is told to nobody else
            await asyncio.sleep(0.05)


async def leaves(command: Command) -> None:
    command.kill(signal.SIGTERM)
    await command.until_line("leaving", err=True)


@pytest.mark.parametrize("how", ["accepted", "accepted as any", "brought back"])
async def test_a_session_whose_code_is_gone_says_so_waits_and_goes_on(tmp_path: Path, how: str) -> None:
    package, flow = a_package(tmp_path)
    old = package_hash(package.root)[:12]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(tmp_path, "--no-executor-timeout", "0.5"))
        first = await stack.enter_async_context(executing(tmp_path, package))
        await until_executors(tmp_path / "data", 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        await submit.until_line("running")
        new = edit(package, "second")
        await stack.enter_async_context(executing(tmp_path, package))
        await until_executors(tmp_path / "data", 2)
        await leaves(first)
        await until_executors(tmp_path / "data", 1)
        (tmp_path / GATE).touch()
        async with asyncio.timeout(2 * SOON):
            waiting = orjson.loads(await submit.until_line("JobWaiting"))
        assert await first.wait() == 0
        assert (waiting["node_id"], waiting["version"][:12]) == ("two", old)
        assert f"no executor has version {old} of node two; have {new} of pack; bring it back" in waiting["reason"]
        assert f"--accept {old}" in waiting["reason"]
        assert "it waits 60 min" in waiting["reason"]
        if how == "brought back":
            package.write("blocks/says/main.py", "def main(inputs): return {'out': 'first'}  # again")
            await stack.enter_async_context(executing(tmp_path, package))
        else:
            accept = old if how == "accepted" else "any"
            await stack.enter_async_context(executing(tmp_path, package, "--accept", accept))
        async with asyncio.timeout(20):
            assert await submit.wait() == 0
    found = submit.events()
    assert found[-1]["outputs"] == {"out": "first" if how == "brought back" else "second"}
    accepted = [
        (event["version"][:12], [each[:12] for each in event["instead"]])
        for event in found
        if event["type"] == "VersionAccepted"
    ]
    assert accepted == ([] if how == "brought back" else [(old, [new])])


async def test_a_session_waits_for_its_version_as_long_as_the_setting_says(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(tmp_path, "--version-timeout", "1"))
        first = await stack.enter_async_context(executing(tmp_path, package))
        submit = await stack.enter_async_context(submitting(tmp_path, flow))
        await submit.until_line("running")
        edit(package, "second")
        await stack.enter_async_context(executing(tmp_path, package))
        await until_executors(tmp_path / "data", 2)
        await leaves(first)
        await until_executors(tmp_path / "data", 1)
        (tmp_path / GATE).touch()
        await submit.until_line("two: waiting: no executor")
        assert await submit.wait() == 1
        assert await first.wait() == 0
    assert any("no executor could run node two within 1 s" in line for line in submit.out)


async def test_a_flow_that_was_edited_says_at_once_what_is_missing_and_what_there_is(tmp_path: Path) -> None:
    package, flow = a_package(tmp_path)
    old = package_hash(package.root)[:12]
    (tmp_path / GATE).touch()
    async with served(tmp_path) as data, executing(tmp_path, package):
        await until_executors(data, 1)
        new = edit(package, "second")
        async with submitting(tmp_path, flow) as submit:
            async with asyncio.timeout(20):
                await submit.until_line("session ")
            async with asyncio.timeout(SOON):
                line = await submit.until_line("waiting")
            assert (
                f"one: waiting: no executor has version {new} of node one; have {old} of pack; start one anew" in line
            )
            assert "--reload" in line
            async with executing(tmp_path, package):
                async with asyncio.timeout(20):
                    assert await submit.wait() == 0
        assert data.is_dir()


@pytest.mark.parametrize("serving", ["nobody", "another package"])
async def test_a_flow_that_nobody_can_run_says_what_there_is(tmp_path: Path, serving: str) -> None:
    _, flow = a_package(tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(tmp_path))
        if serving != "nobody":
            other = Package(tmp_path / "other")
            other.write("package.oo.yaml", "name: another\n")
            await stack.enter_async_context(executing(tmp_path, other))
            await until_executors(tmp_path / "data", 1)
        submit = await stack.enter_async_context(submitting(tmp_path, flow))
        await submit.until_line("session ")
        async with asyncio.timeout(SOON):
            line = await submit.until_line("waiting")
        assert ("no executor is connected" if serving == "nobody" else "no executor has pack (version") in line
        assert ("another" in line) == (serving != "nobody")
        assert "asyncblock executor --package DIR" in line


async def test_a_job_that_waits_for_a_slot_says_when_its_executor_leaves(tmp_path: Path) -> None:
    """It was served when it was queued; nobody would ever tell."""
    package, flow = a_package(tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(tmp_path))
        package.block("waits", WAITS.replace("async def", "def").replace("await asyncio.sleep", "__import__('time').sleep"),
                      inputs_def=[{"handle": "gate", "value": str(tmp_path / GATE)}], outputs_def=OUT)  # fmt: skip
        executor = await stack.enter_async_context(executing(tmp_path, package, "--sync-slots", "1"))
        first = await stack.enter_async_context(submitting(tmp_path, flow))
        await first.until_line("running")
        second = await stack.enter_async_context(submitting(tmp_path, flow))
        await second.until_line("session ")
        await leaves(executor)
        async with asyncio.timeout(2 * SOON):
            await second.until_line("waiting: no executor is connected")
        (tmp_path / GATE).touch()
        assert await executor.wait() == 0


@pytest.mark.parametrize("spawn", [False, True])
async def test_a_package_that_was_edited_under_its_executor_does_not_run_as_what_it_was(
    spawn: bool, tmp_path: Path
) -> None:
    """The job goes back, the executor says what it has now, and a process that has loaded nothing takes its place."""
    package, flow = a_package(tmp_path)
    if spawn:
        manifest = package.root / "blocks/says/block.oo.yaml"
        manifest.write_text(manifest.read_text().replace("entry: main.py", "entry: main.py\n    spawn: true"))
    old = package_hash(package.root)[:12]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(tmp_path))
        executor = await stack.enter_async_context(executing(tmp_path, package))
        submit = await stack.enter_async_context(submitting(tmp_path, flow, "--json"))
        await submit.until_line("running")
        new = edit(package, "second")
        (tmp_path / GATE).touch()
        released = orjson.loads(await submit.until_line("JobReleased"))
        assert released["reason"] == (
            f"package 'pack' was edited: its executor announced version {old} of it, and it holds {new} now"
        )
        await submit.until_line(f"no executor has version {old} of node two; have {new} of pack; bring it back")
        await executor.until_line("a package of it was edited; a new one takes its place", err=True)
        async with submitting(tmp_path, flow) as after:
            async with asyncio.timeout(20):
                assert await after.wait() == 0
            assert '  out = "second"' in after.out


# ---------------------------------------------------------------------- services

SERVICE = """
import asyncio, os, sys
import asyncblock
from shop import blocks

async def main():
    async with asyncblock.connect() as mainframe:
        async with asyncblock.Executor([blocks.split, blocks.count]).attached(mainframe):
            if len(sys.argv) > 1:
                session = await mainframe.start(blocks.flow(), {"gate": sys.argv[1]})
                print("session", session.session_id, flush=True)
            print("serving", flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""
BLOCKS = """
import asyncio, os
import asyncblock
from typing import TypedDict

class Gate(TypedDict):
    gate: str

class Words(TypedDict):
    words: list[str]

class Count(TypedDict):
    n: int

@asyncblock.block(retries=1, backoff=0.1)
async def split(inputs: Gate) -> Words:
    print("running", flush=True)
    while not os.path.exists(inputs["gate"]):
        await asyncio.sleep(0.02)
    return {"words": ["a", "b"]}

@asyncblock.block
def count(inputs: Words) -> Count:
    return {"n": len(inputs["words"])}

def flow():
    made = asyncblock.Flow("counting")
    words = made.node(split, {"gate": made.input("gate")})
    made.output("n", made.node(count, {"words": words["words"]})["n"])
    return made
"""


@pytest.mark.parametrize("deploy", ["another route", "a comment", "accepted"])
async def test_a_service_is_deployed_anew_while_a_session_runs(tmp_path: Path, deploy: str) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for name, text in (
        ("__init__", ""),
        ("routes", "from . import blocks\n"),
        ("blocks", BLOCKS),
        ("service", SERVICE),
    ):
        (shop / f"{name}.py").write_text(text)
    async with AsyncExitStack() as stack:
        data = await stack.enter_async_context(served(tmp_path))
        place: dict[str, Any] = {
            "state": tmp_path,
            "PYTHONPATH": f"{tmp_path}:{Path.cwd()}",
            "ASYNCBLOCK_URL": orjson.loads((data / "address").read_bytes())["url"],
            "ASYNCBLOCK_TOKEN": (data / "token").read_text().strip(),
        }
        old = await stack.enter_async_context(start_module("shop.service", tmp_path / GATE, **place))
        session_id = (await old.until_line("session ")).split()[1]
        watch = await stack.enter_async_context(
            start("watch", session_id, "--data-dir", data, "--json", state=tmp_path)
        )
        await watch.until_line("BlockStarted")
        if deploy == "another route":
            (shop / "routes.py").write_text("from . import blocks\nnew = 1\n")
        elif deploy == "a comment":
            (shop / "blocks.py").write_text(f"# A comment.\n{BLOCKS}\n\n# another")
        else:
            (shop / "blocks.py").write_text(BLOCKS.replace("len(", "10 * len("))
        old.kill(signal.SIGINT)
        await old.wait()
        (tmp_path / GATE).touch()
        if deploy == "accepted":
            async with asyncio.timeout(2 * SOON):
                await watch.until_line("JobWaiting")
            place["ASYNCBLOCK_ACCEPT"] = "any"
        await stack.enter_async_context(start_module("shop.service", **place))
        async with asyncio.timeout(20):
            assert await watch.wait() == 0
    found = watch.events()
    assert found[-1]["outputs"] == {"n": 20 if deploy == "accepted" else 2}
    accepted = [event["node_id"] for event in found if event["type"] == "VersionAccepted"]
    assert accepted == (["split", "count"] if deploy == "accepted" else [])
