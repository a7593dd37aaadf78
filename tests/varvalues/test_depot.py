"""The depot: directories that nobody else may enter, names that lead nowhere else, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asyncblock.errors import LocalProtocolError, Unavailable
from asyncblock.varvalues.depot import MEMORY, Depot, ValueId

ID = ValueId("s", "s.1", 1, 0)
VALUE = np.arange(1000)


@pytest.fixture(autouse=True)
def directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MEMORY, str(tmp_path / "memory"))
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "disk"))
    (tmp_path / "memory").mkdir()


@pytest.fixture
def depot() -> Iterator[Depot]:
    made = Depot()
    made.open()
    yield made
    made.close()


def files(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "host"]


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


def test_other_directories_are_other_hosts(depot: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv(MEMORY, str(tmp_path / "elsewhere"))
    other = Depot()
    other.open()
    assert other.host not in (None, depot.host)
    other.close()


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
from asyncblock.varvalues.depot import Depot, ValueId
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


@pytest.mark.parametrize(
    "name",
    ["", "x", "../../etc/passwd", "m.../etc.passwd", "/etc/passwd", "m.v-1-00000000.0000000000000000-0000000000000000"],
)
def test_names_that_no_file_of_this_host_has_are_refused(depot: Depot, name: str) -> None:
    with pytest.raises(LocalProtocolError, match="var value"):
        depot.load(name, ID)


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


def test_a_file_with_another_value_is_refused(depot: Depot) -> None:
    name, _, _ = depot.save(VALUE, ID, VALUE.nbytes, 1 << 30)
    with pytest.raises(LocalProtocolError, match="holds another value"):
        depot.load(name, ID._replace(place=1))


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


OTHER = ValueId("t", "t.1", 1, 0)


def saved_on_the_disk_too(depot: Depot, tmp_path: Path) -> None:
    for id in (ID, ID._replace(place=1), OTHER):
        depot.save(VALUE, id, VALUE.nbytes, 1 << 30 if id.place else 100)
    assert len(files(tmp_path)) == 3


def test_the_files_of_a_session_go_with_it_and_the_last_takes_its_directory_along(depot: Depot, tmp_path: Path) -> None:
    saved_on_the_disk_too(depot, tmp_path)
    depot.end_sessions(["s"])
    assert [path.name for path in files(tmp_path)] == [OTHER.file()]
    depot.end_sessions(["t"])
    depot.close()
    assert not list(tmp_path.rglob("v-*"))


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


HOLD = """
import os, sys
import numpy as np
from asyncblock.varvalues.depot import Depot, ValueId

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


def test_what_comes_in_parts_is_there_when_it_is_whole_and_goes_with_its_session_before(
    depot: Depot, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 10
    arrival = depot.arrival(ID, len(data), 1 << 30)
    arrival.begin()
    for start in range(0, len(data), 1000):
        arrival.append(data[start : start + 1000])
    filed = arrival.finish()
    arrival.give_up()
    assert [path.read_bytes() for path in files(tmp_path)] == [data] and filed.length == len(data)
    filed.remove()
    # One whose process was killed in the middle is removed by whoever hears of the session's end.
    killed = depot.arrival(ID, len(data), 1 << 30)
    killed.begin()
    assert len(files(tmp_path)) == 1
    depot.end_sessions(["s"])
    assert files(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        killed.finish()
    killed.give_up()


def test_what_nobody_waits_for_any_more_takes_no_room_though_its_thread_comes_to_it_later(
    depot: Depot, tmp_path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    late, soon = (depot.arrival(ID, 1000, 1 << 30) for _ in range(2))
    late.give_up()
    with pytest.raises(Unavailable, match="isn't wanted any more"):
        late.begin()
    soon.begin()
    soon.give_up()
    with pytest.raises(Unavailable, match="isn't wanted any more"):
        soon.append(b"x")
    assert files(tmp_path) == [] and len(os.listdir("/proc/self/fd")) == before
