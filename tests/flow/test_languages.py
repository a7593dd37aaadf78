"""Blocks in another language: refused, unless an executor of that language is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.blockcode.packages import package_hash
from asyncblock.errors import AsyncBlockError, InvalidFlow
from asyncblock.inprocess.hosting import hosted_mainframe, listening
from asyncblock.link.sender import JobSender
from asyncblock.runtime.iothread import shared
from asyncblock.wire.bodies import Parcel
from asyncblock.wire.messages import (
    Cancel,
    Carry,
    Close,
    Dispatch,
    Export,
    Live,
    Release,
    ServiceMessage,
    Spawn,
    Unspawn,
)
from asyncblock.wire.records import encode

from .packages import write


class Executor:
    """An executor in a language of its own: what it is sent, it says back."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def announcement(self) -> dict[str, Any] | None:
        return {"languages": ["nodejs"], "packages": {self._digest: "mine"}, "slots": {"async": 4, "sync": 1}}

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        result = {"o": [message.block["language"], message.block["entry"], message.inputs["x"]]}
        sender.try_record(sender.channel.data, encode("JobStarted", 1))
        sender.finish(Parcel(encode("BlockFinished", 1, result=result)), lambda error: None)

    def reconnects(self) -> None: ...
    def cancel(self, message: Cancel) -> None: ...
    def close(self, message: Close) -> None: ...
    def session_ended(self, session_id: str) -> None: ...
    def release(self, message: Release) -> None: ...
    def live(self, message: Live) -> None: ...
    def export(self, message: Export) -> None: ...
    def carry(self, message: Carry) -> None: ...
    def spawn(self, message: Spawn) -> None: ...
    def unspawn(self, message: Unspawn) -> None: ...
    def link_over(self, error: AsyncBlockError) -> None: ...
    def service_message(self, message: ServiceMessage) -> None: ...
    def held(self) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def lag(self) -> float:
        return 0.0


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """A flow whose one block is in another language."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\nversion: 1.0.0\n")
    write(
        root / "blocks/js/block.oo.yaml",
        """
        executor: {name: nodejs, options: {entry: main.ts}}
        inputs_def: [{handle: x}]
        outputs_def: [{handle: o}]
        """,
    )
    return write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes: [{node_id: n, task: self::js, inputs_from: [{handle: x, value: 5}]}]
        outputs_from: [{handle: o, from_node: [{node_id: n, output_handle: o}]}]
        """,
    )


async def test_a_block_in_another_language_runs_where_an_executor_has_announced_it(flow: Path, tmp_path: Path) -> None:
    host = Executor(package_hash(tmp_path / "pkg"))
    async with (
        shared().lease() as io,
        hosted_mainframe(io, tmp_path / "data") as server,
        listening(io, server, "127.0.0.1", 0) as url,
        asyncblock.connect(url, server.token) as mainframe,
    ):
        with pytest.raises(InvalidFlow, match="executor 'nodejs' can't be run here"):
            await mainframe.start(flow)
        await mainframe.link.attach(host)
        try:
            assert "nodejs" in (await mainframe.info())["languages"]
            session = await mainframe.start(flow)
            assert await session.outputs() == {"o": ["nodejs", "blocks/js/main.ts", 5]}
        finally:
            await mainframe.link.detach()
