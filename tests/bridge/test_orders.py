"""The command line that the engine starts its executors by."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock.bridge.orders import EngineOrders

from ..processes import run
from . import NEEDS_MOSQUITTO

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_a_wrong_command_line_is_told_of(tmp_path: Path) -> None:
    command = await run("oocana-executor", "--session-id", "s", state=tmp_path)
    assert command.process.returncode == 2
    assert "--session-dir" in command.err[-1]


def test_what_the_engine_says_is_read_and_what_is_new_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--session-id", "s", "--address", "127.0.0.1:1883", "--tmp-dir", str(tmp_path)]
    given += ["--session-dir", str(tmp_path / "x" / ".." / "session")]
    given += ["--debug-port", "5678", "--wait-for-client"]
    orders = EngineOrders.read([*given, "--new", "5"], "python-executor")
    assert (orders.session_id, orders.address, orders.identifier) == ("s", "127.0.0.1:1883", None)
    assert (orders.session_dir, orders.package) == (tmp_path / "session", None)
    assert (orders.debug_port, orders.wait_for_client) == (5678, True)
    assert capsys.readouterr().err == "python-executor: these options mean nothing here: --new 5\n"


@pytest.mark.parametrize("port", ["0", "65536", "x"])
def test_what_is_no_port_is_bad_usage(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--session-id", "s", "--tmp-dir", "/t", "--session-dir", "/s", "--debug-port", port]
    with pytest.raises(SystemExit) as left:
        EngineOrders.read(given, "python-executor")
    assert left.value.code == 2 and f"'{port}' is no port" in capsys.readouterr().err
