"""The depot: where values are put, found by other processes, and removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.varvalues.depot import MEMORY, Depot

from . import ID, OTHER, VALUE, files, saved_on_the_disk_too


def test_what_one_process_writes_another_one_of_its_host_reads(depot: Depot, tmp_path: Path) -> None:
    name, length, words = depot.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    assert (name[0], words) == ("m", None)
    [path] = files(tmp_path)
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (length, 0o600)
    assert [path.parent.stat().st_mode & 0o777, path.parent.parent.stat().st_mode & 0o777] == [0o700, 0o700]
    other = Depot()
    other.open()
    assert other.host == depot.host
    assert other.load(name, ID).tolist() == VALUE.tolist()
    other.close()
    assert depot.save(VALUE, ID, VALUE.nbytes, 1 << 30) == (name, length, None)
    depot.remove([ID])
    assert files(tmp_path) == []


def test_what_has_no_room_goes_to_the_disk_or_is_refused_with_words(depot: Depot, tmp_path: Path) -> None:
    name, _, words = depot.save(VALUE, ID, VALUE.nbytes, 100)
    assert name[0] == "d"
    assert words == f"{tmp_path / 'memory'} has no room for {VALUE.nbytes} bytes"
    assert depot.load(name, ID).tolist() == VALUE.tolist()


def test_without_a_memory_directory_the_disk_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    made = Depot()
    made.open()
    assert made.host is not None
    assert made.save(VALUE, ID, VALUE.nbytes, 1 << 30)[0][0] == "d"
    made.close()


FULL = """
import resource, sys
import numpy as np
from asyncblock.varvalues.depot import Depot
from asyncblock.varvalues.valueid import ValueId
from asyncblock.errors import Unavailable

depot = Depot()
depot.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    depot.save(np.zeros(1_000_000), ValueId("s", "s.1", 1, 0), 8_000_000, 1 << 30)
except Unavailable as error:
    print(error)
depot.close()
"""


def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """A write ends in the middle, as on a full disk: an error, never a signal."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "can't be put into a file for another process" in done.stdout
    assert "File too large" in done.stdout
    assert files(tmp_path) == []


def test_a_value_that_can_not_be_taken_apart_leaves_nothing(depot: Depot, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="set"):
        depot.save([VALUE, {1}], ID, 100, 1 << 30)
    assert files(tmp_path) == []


def test_the_files_of_a_session_go_with_it_and_the_last_takes_its_directory_along(depot: Depot, tmp_path: Path) -> None:
    saved_on_the_disk_too(depot, tmp_path)
    depot.end_sessions(["s"])
    assert [path.name for path in files(tmp_path)] == [OTHER.file()]
    depot.end_sessions(["t"])
    depot.close()
    assert not list(tmp_path.rglob("v-*"))


def test_what_was_in_memory_is_found_on_the_disk_when_its_owner_has_left(depot: Depot) -> None:
    name, _, _ = depot.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    handed = depot.hand_down(VALUE, ID, 1 << 20)
    assert (name[0], handed.name[0]) == ("m", "d")
    depot.close()
    later = Depot()
    later.open()
    assert later.load(name, ID).tolist() == later.load(handed.name, ID).tolist() == VALUE.tolist()
    later.close()


def test_what_would_take_more_of_the_disk_than_it_may_is_not_left_there(depot: Depot, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="and there is room for 100"):
        depot.hand_down(VALUE, ID, 100)
    assert files(tmp_path) == []


def test_without_any_directory_nothing_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(MEMORY, str(tmp_path / "file"))
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "disk"))
    (tmp_path / "disk" / f"asyncblock-values-{os.geteuid()}").parent.mkdir()
    (tmp_path / "disk" / f"asyncblock-values-{os.geteuid()}").symlink_to(tmp_path)
    made = Depot()
    made.open()
    assert made.host is None
    with pytest.raises(Unavailable, match="can't be put into a file"):
        made.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    made.close()
