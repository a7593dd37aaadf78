"""Which of many texts may name something: never fewer than do, and cheaply."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncblock.executor.caching.digests import Named, texts_of
from asyncblock.executor.caching.directories import Directories

PARTS = ("a", "b", "A.csv", "é.txt", "É.TXT", ".hidden", "data", "gone", ".", "..", "", "~x", "https:")
PATHS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    for name in ("a/b/A.csv", "a/.hidden", "data/é.txt", "b/data/a", "A.csv"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "a/data").symlink_to(top / "data")
    return top


@given(texts=st.lists(st.one_of(PATHS, PATHS.map("{top}/".__add__)), max_size=10), many=st.sampled_from([1, 40]))
@settings(deadline=None, max_examples=50)
def test_what_exists_is_always_said_to_be_possible(tree: Path, texts: Sequence[str], many: int) -> None:
    bases = [str(tree), str(tree / "b")]
    directories = Directories(bases)
    for text in [text.replace("{top}", str(tree)) for text in texts] * many:
        places = [0] if text.startswith("/") else [0, 1]
        there = {place for place in places if os.path.exists(os.path.abspath(os.path.join(bases[place], text)))}
        assert there <= set(directories.places(text)), text


def test_names_that_a_file_system_may_take_for_the_same_are_possible(tree: Path) -> None:
    directories = Directories([str(tree / "data")])
    said = [directories.places(f"{number}") for number in range(100)]
    assert said[0] == [0] and said[-1] == (), "listed once it was asked for often"
    assert directories.places("É.TXT") == [0]
    assert directories.places("e\N{COMBINING ACUTE ACCENT}.txt") == [0]
    assert directories.places("f.txt") == ()


def test_a_large_directory_is_listed_only_for_many_names(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.txt").touch()
    directories = Directories([str(tmp_path)])
    said = [bool(directories.places(f"x{number}")) for number in range(5000)]
    assert all(said[:255]) and not any(said[256:])


@pytest.mark.parametrize("place", [0, 150_000, 299_999])
def test_a_file_is_found_among_any_number_of_texts(tmp_path: Path, place: int) -> None:
    (tmp_path / "prices.csv").write_text("1,2")
    rows = [f"row {number}" for number in range(300_000)]
    rows[place] = "prices.csv"
    named = Named([tmp_path])
    named.look({"rows": rows})
    assert list(named.files) == [str(tmp_path / "prices.csv")]


def test_a_name_counts_once_its_file_is_there(tmp_path: Path) -> None:
    named = Named([tmp_path])
    named.look("made.txt")
    assert not named.files
    (tmp_path / "made.txt").write_text("now")
    named.look("made.txt")
    assert list(named.files) == [str(tmp_path / "made.txt")]


def row(n: int) -> object:
    return {"id": f"{n}", "name": f"customer {n % 977}", "amount": f"{n % 1000 / 100:.2f}", "at": f"t{n}"}


def addresses(n: int) -> object:
    return [f"https://example.org/{n % 9}/{n}", f"/products/{n}", f"pictures/{n}/small.png", "A.csv"]


@pytest.mark.parametrize("make", [row, addresses])
def test_many_texts_are_looked_at_without_asking_for_each(tree: Path, make: Callable[[int], object]) -> None:
    value = [make(number) for number in range(5_000)]
    bases = [Path.cwd(), tree, tree / "b"]

    def ask() -> int:
        return sum(os.path.exists(os.path.join(base, text)) for text in texts_of(value) for base in bases)

    def cost(of: Callable[[], object]) -> float:
        began = time.thread_time()
        of()
        return time.thread_time() - began

    rounds = [(cost(lambda: Named(bases[1:]).look(value)), cost(ask)) for _ in range(3)]
    assert min(look / each for look, each in rounds) < 0.5, rounds
