"""The README's lines about chaos, between their two markers: ``python -m benchmarks.storms FILE...``.

Each file holds what ``python -m asyncblock.testing.chaos --json`` has printed. Only this writes there.
"""

from __future__ import annotations

import datetime
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from .readme import README

__all__ = ["main", "words"]

BEGIN = "<!-- storms: begin -->"
END = "<!-- storms: end -->"

_DONE = {"outputs": "outputs", "effects": "effects", "frames": "frames", "sessions_finished": "sessions"}
_WRONG = ("lost", "duplicated", "reordered", "wrong", "swapped", "fenced", "commits_repeated", "broken")
_ENDS = ("sessions_failed", "sessions_hanging")


def words(storms: Sequence[Mapping[str, Any]], day: datetime.date) -> str:
    """Return a line for the storms of each length, over one mainframe or over a set of them."""
    kinds: dict[tuple[float, bool], list[Mapping[str, Any]]] = {}
    for storm in storms:
        kinds.setdefault((storm["seconds"], "fenced" in storm), []).append(storm)
    return "\n".join(_line(each, day, seconds, of_set) for (seconds, of_set), each in kinds.items())


def _line(storms: Sequence[Mapping[str, Any]], day: datetime.date, seconds: float, of_set: bool) -> str:
    seeds = ", ".join(str(storm["seed"]) for storm in storms)
    faults = sorted({kind for storm in storms for kind in storm["faults"]})
    least = min(storm["faults"].get(kind, 0) for storm in storms for kind in faults)
    done = ", ".join(f"{_sum(storms, key):,} {what}" for key, what in _DONE.items())
    counts = {
        key.removeprefix("sessions_").replace("_", " "): _sum(storms, key)
        for key in (*_WRONG, *_ENDS)
        if key in storms[0]
    }
    wrong = ", ".join(f"{name} {count}" for name, count in counts.items())
    if not any(counts.values()):
        wrong = f"0 {', '.join(counts)}"
    what = " over a set of mainframes on NATS" if of_set else ""
    return (
        f"{len(storms)} x {seconds:g} s{what} (seeds {seeds}, {day.isoformat()}), {len(faults)} kinds of faults at "
        f"least {least} times each: {done}; **{wrong}**."
    )


def _sum(storms: Iterable[Mapping[str, Any]], key: str) -> int:
    return sum(int(storm.get(key, 0)) for storm in storms)


def main(files: Sequence[str], readme: Path = README) -> None:
    """Write the lines. Raises ``ValueError`` when the markers aren't there."""
    storms = [orjson.loads(line) for file in files for line in Path(file).read_bytes().splitlines()]
    text = readme.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no {BEGIN} ... {END}")
    # As far in as the line of the marker, so that an item of a list goes on behind it.
    line = before[before.rfind("\n") + 1 :]
    margin = line[: len(line) - len(line.lstrip())]
    # The marker is one word at its end.
    end_word = END.replace(" ", "\0")
    said = "\n".join(
        textwrap.fill(line, 120, initial_indent=margin, subsequent_indent=margin)
        for line in (words(storms, datetime.datetime.now().astimezone().date()) + end_word).splitlines()
    )
    readme.write_text(f"{before}{BEGIN}\n{said.replace(end_word, END)}{after}", "utf-8")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m benchmarks.storms FILE ...  (lines of 'python -m asyncblock.testing.chaos --json')")
    main(sys.argv[1:])
