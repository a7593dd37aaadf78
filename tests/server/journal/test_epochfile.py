from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from asyncblock.server.journal import BodyKey, BodyRow, Opening, SqliteJournal, Write
from asyncblock.server.journal.database import Synchronous
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.epochfile import FoundJournal, Recorded, boot_id, break_reason, identity
from asyncblock.testing.conformance.journal import session, sum_of


def recorded(
    *, boot: str = "b1", synchronous: str = "normal", clean: bool = False, count: int = 5, files: str = "f1"
) -> Recorded:
    return Recorded(boot, synchronous, clean, count, tuple(files.split()))


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (recorded(), FoundJournal("b1", "f1", 5), None),
        (recorded(clean=True), FoundJournal("b2", "f1", 5), None),
        (recorded(synchronous="full"), FoundJournal("b2", "f1", 5), None),
        (recorded(), FoundJournal("b2", "f1", 5), "machine went down"),
        (recorded(), FoundJournal("", "f1", 5), "can't be known"),
        (recorded(boot=""), FoundJournal("b1", "f1", 5), "can't be known"),
        (recorded(clean=True, boot=""), FoundJournal("", "f1", 5), None),
        (recorded(), FoundJournal("b1", "f1", 4), None),
        (recorded(), FoundJournal("b1", "f1", 6), "older journal"),
        (recorded(clean=True, synchronous="full"), FoundJournal("b1", "f1", 6), "older journal"),
        (recorded(), FoundJournal("b1", "f2", 5), "copied or restored"),
        (recorded(clean=True, synchronous="full"), FoundJournal("b1", "", 0), "missing"),
        (recorded(files="f1 f2"), FoundJournal("b1", "f1", 5), None),
        (recorded(files="f1 f2"), FoundJournal("b1", "f2", 5), None),
    ],
)
def test_when_the_epoch_changes(before: Recorded, now: FoundJournal, reason: str | None) -> None:
    found = break_reason(before, now)
    assert (found is None) == (reason is None)
    assert reason is None or reason in str(found)


async def use(directory: Path, synchronous: Synchronous = "normal") -> Opening:
    """Open a journal, write a session, close it."""
    with DataDir.open(directory) as place:
        async with await SqliteJournal.open(place, synchronous=synchronous) as journal:
            write = Write()
            write.session(session(journal.new_session_no()))
            journal.write(write)
            return journal.opening


def change_meta(directory: Path, **values: str) -> None:
    with closing(sqlite3.connect(directory / "journal.db")) as connection, connection:
        connection.executemany("UPDATE meta SET value = ? WHERE key = ?", [(v, k) for k, v in values.items()])
    connection.close()


async def test_a_closed_journal_goes_on(tmp_path: Path) -> None:
    first = await use(tmp_path / "a")
    assert first.created
    assert first.changed is None
    for _ in range(3):
        again = await use(tmp_path / "a")
        assert (again.epoch, again.changed, again.created, again.clean) == (first.epoch, None, False, True)
    assert (await use(tmp_path / "b")).epoch != first.epoch


async def test_a_moved_directory_goes_on(tmp_path: Path) -> None:
    first = await use(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert (await use(tmp_path / "b")).epoch == first.epoch


async def test_a_copied_directory_is_another_journal(tmp_path: Path) -> None:
    first = await use(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copy = await use(tmp_path / "b")
    assert copy.epoch != first.epoch
    assert "copied or restored" in str(copy.changed)
    assert (await use(tmp_path / "b")).epoch == copy.epoch
    assert (await use(tmp_path / "a")).epoch == first.epoch


async def test_a_directory_restored_in_place_is_another_journal(tmp_path: Path) -> None:
    """The files of a backup are copied over the present ones, which keep their inodes."""
    first = await use(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    await use(tmp_path / "a")
    for name in ("journal.db", "lineage"):
        shutil.copy2(tmp_path / "backup" / name, tmp_path / "a" / name)
    assert (await use(tmp_path / "a")).epoch != first.epoch


async def test_a_database_restored_alone_is_another_journal(tmp_path: Path) -> None:
    first = await use(tmp_path / "a")
    shutil.copy2(tmp_path / "a" / "journal.db", tmp_path / "backup.db")
    await use(tmp_path / "a")
    shutil.copy2(tmp_path / "backup.db", tmp_path / "a" / "journal.db")
    assert (await use(tmp_path / "a")).epoch != first.epoch


async def test_a_hot_backup_put_back_is_another_journal(tmp_path: Path) -> None:
    """Made and put back within one use of the journal; what tells is that the counts went up since."""
    with DataDir.open(tmp_path / "a") as place:
        journal = await SqliteJournal.open(place)
        source = sqlite3.connect(place.journal_path)
        with closing(sqlite3.connect(tmp_path / "backup.db")) as backup, backup:
            source.backup(backup)
        backup.close()
        source.close()
        await journal.close()
        shutil.copy2(tmp_path / "backup.db", place.journal_path)
        async with await SqliteJournal.open(place) as again:
            assert again.epoch != journal.epoch
            assert "older journal" in str(again.opening.changed)


async def test_a_missing_lineage_is_another_journal(tmp_path: Path) -> None:
    first = await use(tmp_path / "a")
    (tmp_path / "a" / "lineage").unlink()
    assert (await use(tmp_path / "a")).epoch != first.epoch


@pytest.mark.skipif(not boot_id(), reason="the kernel has no boot id")
@pytest.mark.parametrize(
    ("synchronous", "clean", "goes_on"), [("normal", "0", False), ("full", "0", True), ("normal", "1", True)]
)
async def test_a_reboot(synchronous: Synchronous, clean: str, goes_on: bool, tmp_path: Path) -> None:
    first = await use(tmp_path / "a", synchronous)
    change_meta(tmp_path / "a", boot="another", clean=clean)
    again = await use(tmp_path / "a", "normal")
    assert (again.epoch == first.epoch) == goes_on
    assert again.clean == (clean == "1")


async def test_bodies_that_a_reboot_has_lost_are_named(tmp_path: Path) -> None:
    with DataDir.open(tmp_path / "a") as place:
        async with await SqliteJournal.open(place) as journal:
            write = Write()
            write.session(session(1))
            for n in (1, 2, 3):
                await journal.bodies.write(BodyKey("link", n), 0, b"body")
                await journal.bodies.finish(BodyKey("link", n), 4, sum_of(b"body"))
                write.body(BodyRow(session_no=1, link_id="link", n=n, length=4, sha256=sum_of(b"body")))
            journal.write(write)
        (place.bodies_path / "link" / "1").unlink()
        (place.bodies_path / "link" / "3").write_bytes(b"bo")
        change_meta(place.path, boot="another", clean="0")
        async with await SqliteJournal.open(place) as journal:
            assert journal.opening.lost_bodies == (BodyKey("link", 1), BodyKey("link", 3))


@pytest.mark.parametrize("step", ["before", "after"])
async def test_dying_while_the_file_is_replaced_goes_on(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await use(tmp_path / "a")
    really = Path.replace

    def die(self: Path, target: Path) -> Path:
        if step == "after":
            really(self, target)
        raise OSError("died here")

    with DataDir.open(tmp_path / "a") as place:
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(Path, "replace", die)
                with pytest.raises(Exception, match="died here"):
                    await SqliteJournal.open(place)
        async with await SqliteJournal.open(place) as journal:
            assert (journal.epoch, journal.opening.changed) == (first.epoch, None)


def test_a_file_is_known_by_more_than_its_inode(tmp_path: Path) -> None:
    """File systems give the inode of a deleted file to the next one."""
    file = tmp_path / "file"
    seen = set()
    for _ in range(20):
        file.touch()
        seen.add(identity(file))
        file.unlink()
    assert identity(file) == ""
    assert len({each.partition(":")[0] for each in seen}) <= len(seen)
