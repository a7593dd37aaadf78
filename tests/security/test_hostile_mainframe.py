"""A mainframe that was taken over hands an executor blocks that lead out of what it serves: none of them runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from asyncblock.blockcode.packages import package_hash
from asyncblock.client import Mainframe
from asyncblock.executor import Executor
from asyncblock.link import Link
from asyncblock.runtime.iothread import shared
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair

pytestmark = pytest.mark.timeout(60)

EVIL = (
    "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('x')\ndef main(inputs, ctx):\n    return {}\n"
)


class FakeMainframe:
    """Welcomes a link, hands it one job, and says what became of that."""

    def __init__(self, block: dict[str, Any]) -> None:
        self._block = block
        self.ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()

    async def dial(self) -> Transport:
        ours, theirs = memory_pair()
        self._task = asyncio.create_task(self._serve(theirs))
        return ours

    async def _serve(self, transport: Transport) -> None:
        while True:
            lines = (await transport.receive()).split(b"\n")
            while lines:
                message = orjson.loads(lines.pop(0))
                op = message["op"]
                if op == "hello":
                    await self._say(transport, "welcome", **WELCOME)
                elif op == "announce" and message["executor"] is not None:
                    await self._say(transport, "dispatch", **dispatch(self._block))
                elif op == "batch":
                    for _ in message["channels"]:
                        for record in orjson.loads(lines.pop(0)):
                            if record["type"] == "BlockFinished":
                                self._loop.call_soon_threadsafe(self.ended.set_result, record)
                    await self._say(transport, "ack", seq=message["seq"])
                elif op == "bye":
                    return

    async def _say(self, transport: Transport, op: str, **fields: object) -> None:
        await transport.send(orjson.dumps({"op": op, **fields}))


WELCOME = {
    "version": 1, "epoch": "e", "token": "t", "resumed": True, "stored": 0, "bodies": {}, "windows": {}, "limits": {},
    "heartbeat": 5.0,
}  # fmt: skip


def dispatch(block: dict[str, Any]) -> dict[str, Any]:
    base = {"language": "python", "package": "p", "dir": ".", "function": "main"}
    return {
        "job_id": "s.0", "attempt": 1, "channel": 1, "session_id": "s", "node_id": "n",
        "stacks": [{"flow_job_id": "s", "flow": None, "node_id": "n"}], "block": {**base, **block}, "inputs": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    ["../evil.py", "{above}/evil.py", "link.py", "linked/evil.py", "sub/../../evil.py", "a\x00.py", "", "."],
)
async def test_an_entry_that_leads_out_of_the_served_package_does_not_run(tmp_path: Path, entry: str) -> None:
    root = tmp_path / "package"
    root.mkdir()
    (tmp_path / "evil.py").write_text(EVIL)
    (root / "fine.py").write_text("def main(inputs, ctx):\n    return {}\n")
    (root / "link.py").symlink_to(tmp_path / "evil.py")
    (root / "linked").symlink_to(tmp_path)
    block = {"entry": entry.format(above=tmp_path), "hash": package_hash(root)}
    record = await outcome(block, root)
    assert record["error"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("module", ["os", "subprocess", "asyncblock.cli.app", "antigravity"])
async def test_a_module_that_the_executor_does_not_announce_is_not_imported(tmp_path: Path, module: str) -> None:
    root = tmp_path / "package"
    root.mkdir()
    (root / "fine.py").write_text("def main(inputs, ctx):\n    return {}\n")
    for digest in (package_hash(root), "x" * 64):
        block = {"package": f"python:{module}", "entry": module, "function": "main", "hash": digest}
        assert "no block" in (await outcome(block, root))["error"]


async def test_a_package_that_the_executor_does_not_announce_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "package"
    root.mkdir()
    (tmp_path / "evil.py").write_text(EVIL)
    (root / "fine.py").write_text("def main(inputs, ctx):\n    return {}\n")
    record = await outcome({"package": str(tmp_path), "entry": "evil.py", "hash": "y" * 64}, root)
    assert "has no package" in record["error"]
    assert not (tmp_path / "ran").exists()


async def outcome(block: dict[str, Any], root: Path) -> dict[str, Any]:
    """Let an executor of a package have a block; return how the job ended."""
    async with shared().lease() as io:
        fake = FakeMainframe(block)
        link = await io.run(made(fake, io))
        try:
            await link.open()
            async with Executor(packages=[root]).attached(Mainframe(link)):
                async with asyncio.timeout(20):
                    return await fake.ended
        finally:
            await link.close()


async def made(fake: FakeMainframe, io: Any) -> Link:
    return Link(io, fake.dial, "a mainframe that was taken over")
