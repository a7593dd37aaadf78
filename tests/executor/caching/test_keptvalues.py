"""Var values of kept results, by the keys that stand for them: those of the session itself, or of one before."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncblock.executor.caching import KeptValues, NoDigest, Results, lay_beside
from asyncblock.store import StoreKey

BEGAN = 1_000


def key(place: int) -> StoreKey:
    return StoreKey("asyncblock", "y", "job", "session", 1, place)


def keep(results: Results, maker: str | None, at: int, *frames: list[tuple[str, bytes]]) -> None:
    draft = results.draft()
    about: Mapping[str, Any] = {} if maker is None else {"about": {"session_id": maker}}
    draft.add(about, [])
    for frame in frames:
        values = [["y", kind] for kind, _ in frame]
        draft.add({"record": "BlockOutputs", "values": values}, [part for _, part in frame])
    draft.add({"named": {}, "at": at}, [])
    results.keep(draft, "name")


def test_each_value_is_found_by_its_place_among_the_others(tmp_path: Path) -> None:
    results = Results(tmp_path)
    pickles = [pickle.dumps(value) for value in ({"a"}, b"raw" * 1000, None)]
    keep(results, "session", 2_000, [("var", pickles[0]), ("json", b"[1]"), ("var", pickles[1])], [("var", pickles[2])])
    values = KeptValues()
    assert key(0) not in values
    assert values.take(results, "name", "session", BEGAN, [key(0), key(1), key(2)]) == tmp_path / "name"
    assert [values.value(key(place)) for place in range(3)] == [{"a"}, b"raw" * 1000, None]


@pytest.mark.parametrize(
    ("maker", "at", "taken"),
    [("session", 2_000, True), ("other", 500, True), ("other", 2_000, False), (None, 500, True), (None, 2_000, False)],
)
def test_what_another_session_made_since_the_job_began_is_not_the_jobs(
    tmp_path: Path, maker: str | None, at: int, taken: bool
) -> None:
    results = Results(tmp_path)
    keep(results, maker, at, [("var", pickle.dumps(1))])
    found = KeptValues().take(results, "name", "session", BEGAN, [key(0)])
    assert (found is not None) is taken


def test_another_number_of_values_is_another_result_and_none_is_none(tmp_path: Path) -> None:
    results = Results(tmp_path)
    keep(results, "session", 500, [("var", pickle.dumps(1))])
    assert KeptValues().take(results, "name", "session", BEGAN, [key(0), key(1)]) is None
    assert KeptValues().take(results, "else", "session", BEGAN, [key(0)]) is None


def test_a_value_that_cannot_be_read_here_is_said_to_be_so(tmp_path: Path) -> None:
    results = Results(tmp_path)
    keep(results, "session", 500, [("var", b"cnowhere_at_all\nThing\n.")])
    values = KeptValues()
    values.take(results, "name", "session", BEGAN, [key(0)])
    with pytest.raises(NoDigest, match="nowhere_at_all"):
        values.value(key(0))


def test_a_result_lies_in_two_places_and_goes_from_each_alone(tmp_path: Path) -> None:
    results, others = Results(tmp_path / "a"), Results(tmp_path / "b")
    results.directory.mkdir()
    others.directory.mkdir()
    keep(results, "session", 500, [("var", pickle.dumps(1))])
    for _ in range(2):
        lay_beside(results.directory / "name", others, "another")
    results.forget("name")
    file = others.open("another")
    assert file is not None
    file.close()
