"""Results on disk: whole or not there, bounded, safe between processes, and nobody else's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncblock.errors import Unavailable
from asyncblock.executor.caching.digests import Named, NoDigest, digest_of
from asyncblock.executor.caching.results import Results, read_frames


def kept(results: Results, name: str, *parts: bytes, age: float = 0) -> Path:
    draft = results.draft()
    draft.add({"what": name}, list(parts))
    results.keep(draft, name)
    path = results.directory / name
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    results = Results(tmp_path)
    kept(results, "k", b"one\n\0", b"", b"x" * 3_000_000)
    file = results.open("k")
    assert file is not None
    with file:
        [frame] = read_frames(file)
    assert (frame.head["what"], frame.parts) == ("k", [b"one\n\0", b"", b"x" * 3_000_000])


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "empty"])
def test_what_is_damaged_is_not_there(tmp_path: Path, damage: str) -> None:
    results = Results(tmp_path)
    path = kept(results, "k", b"one", b"two" * 1000)
    data = path.read_bytes()
    changed = {
        "cut": data[:-100],
        "changed": data.replace(b"twotwo", b"owttwo", 1),
        "longer": data + b"x",
        "empty": b"",
    }
    path.write_bytes(changed[damage])
    assert results.open("k") is None
    assert not path.exists()


def test_a_reader_keeps_what_another_process_removes_or_replaces(tmp_path: Path) -> None:
    results = Results(tmp_path)
    kept(results, "k", b"first")
    file = results.open("k")
    assert file is not None
    with file:
        kept(Results(tmp_path), "k", b"second")
        Results(tmp_path).prune(limit=0)
        assert [frame.parts for frame in read_frames(file)] == [[b"first"]]


def test_of_too_much_the_longest_unused_goes(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for age, name in enumerate(("new", "old", "oldest")):
        kept(results, name, b"x" * 1000, age=age * 100)
    # It counts as used now.
    file = results.open("oldest")
    assert file is not None
    file.close()
    pruned = results.prune(limit=2500)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "oldest"}
    assert pruned.results == 1
    assert pruned.left == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_limit_holds_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_CACHE_BYTES", "20000")
    results = Results(tmp_path)
    for number in range(50):
        kept(results, f"k{number}", b"x" * 2000)
    assert results.usage()[1] <= 20000 + 2 * 2100


def test_what_a_killed_process_was_writing_goes_after_a_day(tmp_path: Path) -> None:
    results = Results(tmp_path)
    fresh, stale = results.draft(), results.draft()
    old = time.time() - 2 * 86400
    os.utime(stale.path, (old, old))
    results.prune(limit=0)
    assert fresh.path.exists()
    assert not stale.path.exists()
    fresh.drop()
    stale.drop()


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(Unavailable, match=r"others may write into it.*ASYNCBLOCK_CACHE_DIR"):
        Results(tmp_path).check()
    tmp_path.chmod(0o755)
    Results(tmp_path).check()


# ---------------------------------------------------------------------- inputs


@pytest.mark.parametrize("text", ["{path}", "sub/../{name}"], ids=["absolute", "relative to the block's package"])
def test_a_text_that_names_a_file_counts_with_what_that_holds(tmp_path: Path, text: str) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "prices.csv"
    file.write_text("1,2")
    value = {"rows": [text.format(path=file, name=file.name)], "n": 1}

    def look() -> tuple[str, str]:
        named = Named([tmp_path])
        return digest_of(value, named), named.digest()

    before = look()
    assert look() == before
    named = Named([tmp_path])
    named.look(value)
    assert named.changed() is None
    file.write_text("1,3")
    assert look() != before
    assert named.changed() == str(file)
    file.unlink()
    assert look()[1] == ""


def test_a_directory_counts_with_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("a")
    seen = set()
    for change in (lambda: None, lambda: (tmp_path / "in/b.txt").write_text("b"), (tmp_path / "in/a.txt").unlink):
        change()
        named = Named()
        named.look(str(tmp_path))
        seen.add(named.digest())
    assert len(seen) == 3


def test_values_are_told_apart(tmp_path: Path) -> None:
    values = [1, 1.0, True, "1", None, [1], {"a": 1}, {"a": "1"}, {"b": 1}, [], {}, "", b"1", [[1]], [1, [1]]]
    found = [digest_of(value, Named()) for value in values]
    assert len(set(found)) == len(values)
    assert digest_of({"a": 1, "b": 2}, Named()) == digest_of({"b": 2, "a": 1}, Named())


def iter_of_nothing() -> Iterator[int]:
    yield from ()


def test_objects_are_told_apart_by_what_they_hold() -> None:
    pandas = pytest.importorskip("pandas")
    frames = [
        pandas.DataFrame({"a": [1, 2]}),
        pandas.DataFrame({"a": [1, 3]}),
        pandas.DataFrame({"a": ["1", "2"]}),
        pandas.DataFrame({"b": [1, 2]}),
        pandas.DataFrame({"a": [1, 2]}, index=[1, 2]),
        pandas.DataFrame({"a": [1.0, 2.0]}),
        pandas.Series([1, 2], name="a"),
        pandas.Series([1, 2]),
        pandas.DataFrame({"a": [None, "x"]}, dtype=object),
        pandas.DataFrame({"a": [float("nan"), "x"]}, dtype=object),
    ]
    assert len({digest_of(frame, Named(), var=True) for frame in frames}) == len(frames)
    for frame in frames:
        assert digest_of(frame.copy(), Named(), var=True) == digest_of(frame, Named(), var=True)
    with pytest.raises(NoDigest, match="a generator that can't be compared"):
        digest_of(iter_of_nothing(), Named(), var=True)
