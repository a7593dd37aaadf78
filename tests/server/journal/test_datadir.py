from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.server.journal.datadir import DataDir, default_data_dir, read_address, read_token

ROOT = Path(__file__).parents[3]

HOLD = """
import sys
from pathlib import Path
from asyncblock.server.journal.datadir import DataDir
place = DataDir.open(Path(sys.argv[1]))
place.write_address({"url": "ws://here"})
print("held", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_made_for_this_user_only(tmp_path: Path) -> None:
    with DataDir.open(tmp_path / "a" / "data") as place:
        place.token()
        place.write_address({"url": "ws://127.0.0.1:1"})
        assert mode(place.path) == 0o700
        assert mode(place.bodies_path) == 0o700
        for name in ("token", "address", "journal.db", "lock"):
            assert mode(place.path / name) == 0o600


def test_a_second_user_is_told_who_uses_it(tmp_path: Path) -> None:
    with DataDir.open(tmp_path):
        with pytest.raises(Unavailable, match=f"{tmp_path} is in use by the process {os.getpid()}"):
            DataDir.open(tmp_path)
    DataDir.open(tmp_path).close()


def test_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Unavailable, match=str(process.pid)):
            DataDir.open(tmp_path)
        assert read_address(tmp_path) == {"url": "ws://here"}
        process.send_signal(signal.SIGKILL)
        process.wait()
    with DataDir.open(tmp_path):
        assert read_address(tmp_path) is None


def test_where_nothing_can_be_made_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/asyncblock")):
        with pytest.raises(Unavailable, match="ASYNCBLOCK_DATA_DIR"):
            DataDir.open(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_unavailable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unavailable, match="can't be"):
        DataDir.open(tmp_path)


def test_the_token_stays(tmp_path: Path) -> None:
    assert read_token(tmp_path) is None
    with DataDir.open(tmp_path) as place:
        token = place.token()
        assert len(token) > 30
        assert place.token() == token
    assert read_token(tmp_path) == token
    with DataDir.open(tmp_path) as place:
        assert place.token() == token


def test_the_address_goes_with_the_mainframe(tmp_path: Path) -> None:
    assert read_address(tmp_path) is None
    with DataDir.open(tmp_path) as place:
        place.write_address({"url": "one"})
        place.write_address({"url": "two", "pid": 7})
        assert read_address(tmp_path) == {"url": "two", "pid": 7}
    assert read_address(tmp_path) is None
    place.close()
    (tmp_path / "address").write_text("not JSON")
    assert read_address(tmp_path) is None


def test_the_default_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("ASYNCBLOCK_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_data_dir() == Path("/home/me/.local/state/asyncblock")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_data_dir() == Path("/home/me/.local/state/asyncblock")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_data_dir() == Path("/state/asyncblock")
    monkeypatch.setenv("ASYNCBLOCK_DATA_DIR", "/data")
    assert default_data_dir() == Path("/data")
