"""The executor's process, from its start on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..processes import run
from . import NEEDS_MOSQUITTO, Broker, Engine, engine, mosquitto

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_without_a_broker_it_says_so_and_leaves(tmp_path: Path) -> None:
    arguments = Engine(1, tmp_path).arguments()
    command = await run("oocana-executor", *arguments, state=tmp_path)
    assert command.process.returncode == 1
    assert command.err == [
        "asyncblock oocana-executor: no MQTT broker can be reached at 127.0.0.1:1: Connection refused"
    ]


async def test_a_session_that_no_topic_can_name_is_bad_usage(tmp_path: Path) -> None:
    command = await run("oocana-executor", *Engine(1, tmp_path).arguments(**{"--session-id": "a/#"}), state=tmp_path)
    assert command.process.returncode == 2
    assert "'a/#' can't be in the name of an MQTT topic" in command.err[-1]


async def test_a_broker_that_wants_a_login_is_told_of_and_one_can_be_given(tmp_path: Path) -> None:
    async with mosquitto(tmp_path, "allow_anonymous false") as broker:
        peer = Engine(broker.port, tmp_path)
        command = await run("oocana-executor", *peer.arguments(), state=tmp_path)
        assert command.process.returncode == 1
        [line] = command.err
        assert "wants a login: USER:PASSWORD@HOST:PORT" in line
        address = f"mqtt://me:secret@127.0.0.1:{broker.port}"
        command = await run("oocana-executor", *peer.arguments(**{"--address": address}), state=tmp_path)
        [line] = command.err
        assert "wants another login" in line and "secret" not in line


async def test_ready_is_said_before_anything_heavy_is_loaded(tmp_path: Path, broker: Broker) -> None:
    """The engine gives it 5 s; what blocks may need is loaded by another process, and later."""
    async with engine(tmp_path, broker) as peer:
        maps = Path(f"/proc/{peer.executor.process.pid}/maps").read_text()
        assert not [name for name in ("pandas", "numpy", "matplotlib") if f"/{name}/" in maps]
