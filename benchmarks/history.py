"""What changed with which commit: a line of ``history.jsonl`` for each figure that a commit changed.

Ratios only: figures of another day and machine can't be compared. What the machine was like is said beside them.
"""

from __future__ import annotations

import datetime
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from .builds import ROOT, BuildError, commit_of, fingerprint, source
from .report import Against, Result, machine

__all__ = ["HISTORY", "append", "calibrate", "landed"]

HISTORY = Path(__file__).resolve().parent / "history.jsonl"


def landed(repository: Path = ROOT) -> str:
    """Return the commit that the working tree is. Raises ``BuildError`` where it has changes that no commit has."""
    commit = commit_of("HEAD", repository)
    with source(commit, repository) as committed, source(None, repository) as now:
        if fingerprint(committed) != fingerprint(now):
            raise BuildError("history names commits, and the package has changes that aren't committed: commit first")
    return commit


def calibrate() -> dict[str, float]:
    """Measure the machine: ms for 100,000 steps of pure Python at its best, and for a small SQLite commit."""
    from .latency import commit

    laps = []
    for _ in range(10):
        began = time.perf_counter()
        total = 0
        for number in range(100_000):
            total += number
        laps.append((time.perf_counter() - began) * 1000)
    commits = statistics.median(commit(200)["p50"] for _ in range(3))
    return {"python_ms": round(min(laps), 2), "commit_ms": round(commits, 4)}


def append(results: Sequence[Result], commit: str, path: Path = HISTORY) -> list[str]:
    """Add a line for each figure whose interval doesn't hold 1; return those figures' names."""
    changed = [
        (f"{result.name} {case}".strip(), result.against, case)
        for result in results
        if result.against is not None
        for case, (low, high) in result.against.interval.items()
        if not low <= 1 <= high
    ]
    if changed:
        where = {**machine(), **calibrate()}
        del where["versions"]
        lines = [_line(figure, against, case, commit, where) for figure, against, case in changed]
        with path.open("ab") as file:
            file.writelines(lines)
    return [figure for figure, _, _ in changed]


def _line(figure: str, against: Against, case: str, commit: str, where: dict[str, object]) -> bytes:
    low, high = against.interval[case]
    line = {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "against": against.commit,
        "figure": figure,
        "ratio": round(against.ratio[case], 4),
        "interval": [round(low, 4), round(high, 4)],
        "rounds": against.rounds[case],
        "machine": where,
    }
    return orjson.dumps(line) + b"\n"
