"""What the README says of chaos is what the runs have printed."""

from __future__ import annotations

import datetime
from pathlib import Path

import orjson
import pytest

from asyncblock.testing.chaos.audit import Audit
from asyncblock.testing.chaos.outcome import Outcome
from asyncblock.testing.chaos.streamaudit import StreamAudit
from benchmarks import storms

DAY = datetime.date(2026, 11, 30)


def told(seed: int, faults: dict[str, int], lost: int = 0, *, of_set: bool = False) -> dict[str, object]:
    stream = StreamAudit(fenced=2) if of_set else None
    outcome = Outcome(
        seed, Audit(journaled=1500, effects=20, lost=lost), faults, 3, 4, {}, 0, {}, stream, seconds=600.0
    )
    line: dict[str, object] = orjson.loads(outcome.to_json())
    return line


def test_kinds_are_told_with_the_least_that_there_was_of_any_and_the_rest_as_sums() -> None:
    line = storms.words([told(1, {"cut": 9, "oom": 3}), told(2, {"cut": 7, "oom": 1}, lost=1)], DAY)
    assert line == (
        "2 x 600 s (seeds 1, 2, 2026-11-30), 2 kinds of faults at least 1 times each: 3,000 "
        "outputs, 40 effects, 0 frames, 8 sessions; **lost 1, duplicated 0, reordered 0, wrong 0, swapped 0, failed 0, "
        "hanging 0**."
    )
    assert "at least 0 times each" in storms.words([told(1, {"cut": 9, "oom": 3}), told(2, {"cut": 7})], DAY)


def test_a_set_has_a_line_of_its_own() -> None:
    alone, of_set = storms.words([told(1, {"cut": 1}), told(1, {"owner": 1}, of_set=True)], DAY).splitlines()
    assert "a set" not in alone
    assert "fenced" not in alone
    assert "a set of mainframes on NATS" in of_set
    assert "fenced 2, commits repeated 0, broken 0" in of_set


def test_where_nothing_went_wrong_the_zero_is_told_once() -> None:
    line = storms.words([told(1, {"cut": 1})], DAY)
    assert line.endswith("**0 lost, duplicated, reordered, wrong, swapped, failed, hanging**.")


def test_only_what_stands_between_the_markers_changes(tmp_path: Path) -> None:
    readme, lines = tmp_path / "README.md", tmp_path / "lines"
    lines.write_bytes(orjson.dumps(told(1, {"cut": 1})) + b"\n")
    readme.write_text(f"one\n  words: {storms.BEGIN}\n  old{storms.END}\ntwo\n")
    storms.main([str(lines)], readme)
    text = readme.read_text()
    assert text.startswith(f"one\n  words: {storms.BEGIN}\n  1 x 600 s (seeds 1, ")
    assert text.endswith(f"**.{storms.END}\ntwo\n")
    assert all(line.startswith("  ") and len(line) <= 120 for line in text.splitlines()[1:-1])
    assert "old" not in text
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="has no"):
        storms.main([str(lines)], readme)
