"""The directories of var values: this user's alone, entered through no link, and swept of what dead owners left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asyncblock.errors import LocalProtocolError
from asyncblock.varvalues.depot import Depot

from . import ID, OTHER, VALUE, files, saved_on_the_disk_too


def test_no_link_is_followed(depot: Depot, tmp_path: Path) -> None:
    name, _, _ = depot.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    [path] = files(tmp_path)
    path.rename(tmp_path / "aside")
    path.symlink_to(tmp_path / "aside")
    with pytest.raises(LocalProtocolError, match="isn't there"):
        depot.load(name, ID)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(LocalProtocolError, match="isn't there"):
        depot.load(name, ID)


def test_a_directory_that_is_somebody_elses_or_a_link_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "memory" / f"asyncblock-values-{os.geteuid()}").symlink_to(target)
    made = Depot()
    made.open()
    assert made.save(VALUE, ID, VALUE.nbytes, 1 << 30)[0][0] == "d"
    assert list(target.iterdir()) == []
    made.close()


def test_what_is_on_the_disk_stays_when_its_owner_ends_until_its_session_does(depot: Depot, tmp_path: Path) -> None:
    saved_on_the_disk_too(depot, tmp_path)
    name, _, _ = depot.save(VALUE, OTHER, VALUE.nbytes, 1 << 30)
    depot.close()
    assert {path.name for path in files(tmp_path)} == {ID.file(), OTHER.file()}
    later = Depot()
    later.open()
    assert later.disk == depot.disk is not None
    assert later.load(name, OTHER).tolist() == VALUE.tolist()
    assert later.disk_bytes() == sum(path.stat().st_size for path in files(tmp_path)) > 0
    later.remove_left([ID])
    assert [path.name for path in files(tmp_path)] == [OTHER.file()]
    later.end_sessions(["t"])
    assert files(tmp_path) == []
    later.close()
    last = Depot()
    last.open()
    assert {path.name for path in tmp_path.rglob("v-*")} == {last.owner}, "the empty one was swept"
    last.close()


def test_what_nobody_asks_for_in_a_week_goes(depot: Depot, tmp_path: Path) -> None:
    depot.save(VALUE, ID, VALUE.nbytes, 100)
    depot.close()
    [directory] = tmp_path.rglob("v-*")
    for days, left in ((6, 1), (8, 0)):
        os.utime(directory, times=(0, time.time() - days * 86400))
        made = Depot()
        made.open()
        assert len(files(tmp_path)) == left
        made.close()


HOLD = """
import os, sys
import numpy as np
from asyncblock.varvalues.depot import Depot
from asyncblock.varvalues.valueid import ValueId

depot = Depot(sys.argv[1] if len(sys.argv) > 1 else None)
depot.open()
depot.save(np.arange(3), ValueId("s", "s.1", 1, 0), 24, 1 << 30)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a parent that lives"])
def test_what_a_dead_owner_has_left_is_removed_by_the_next_one(depot: Depot, tmp_path: Path, shared: bool) -> None:
    command = [sys.executable, "-c", HOLD, *([depot.owner] if shared else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        Depot().open()
        assert len(files(tmp_path)) == 1
        child.kill()
        child.wait()
    last = Depot()
    last.open()
    # What a parent owns stays as long as it lives.
    assert len(files(tmp_path)) == (1 if shared else 0)
    last.close()
