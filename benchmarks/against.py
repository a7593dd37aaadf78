"""Ours beside the build of another commit, in paired rounds: ``python -m benchmarks NAME --against REF``.

Both packages, REF's and the working tree's, are built in the same way with the same versions of libraries, and both
run today's benchmark files. A round measures each once, in a process of its own, and the order changes from round to
round. A machine that is slow for a while is slow for both.
"""

from __future__ import annotations

import compileall
import math
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from .builds import ROOT, Build, built, commit_of, fingerprint, source
from .paired import FEWEST, Estimate, estimate
from .report import Against, say
from .rounds import Case, Side

__all__ = ["EXTRAS", "Compared", "Limits", "Sides", "compare", "sides"]

EXTRAS = ("cli", "fast")
"""Of asyncblock, that every benchmark needs: a mainframe's command, and the loop that executor processes have."""

_FIRST_LOOK = 8
"""Rounds after which an interval may be narrow enough: with fewer it is narrow by luck too often."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When rounds end. ``FEWEST`` of them are measured however long they take."""

    within: float = 0.02
    """The interval shall reach no further from the ratio than this part of it."""
    rounds: int = 60
    seconds: float = 600.0
    """For all cases of a benchmark together."""


@dataclass(frozen=True, slots=True)
class Sides:
    """The two builds, ready to be measured."""

    ref: str
    commit: str
    theirs: Side
    ours: Side
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Compared:
    """What the rounds of one benchmark found."""

    against: Against | None
    """``None`` where no case could be compared."""
    ours: Mapping[str, float]
    """The medians of our own rounds."""
    missing: Mapping[str, str]
    """Why cases couldn't be compared: REF doesn't have it, or a figure has no ratio."""
    broken: Mapping[str, str]
    """Why cases failed with today's build."""


@contextmanager
def sides(ref: str, extras: Sequence[str], repository: Path = ROOT, also: Sequence[str] = ()) -> Iterator[Sides]:
    """Build both and lay out the benchmark files for them. Raises ``BuildError``."""
    commit = commit_of(ref, repository)
    extras = sorted({*EXTRAS, *extras})
    with TemporaryDirectory(prefix="bench-files-") as directory:
        files = Path(directory)
        # A copy: whoever goes on editing while it runs measures what was there when it began.
        shutil.copytree(ROOT / "benchmarks", files / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(files, quiet=2)
        with ExitStack() as builds:
            with source(commit, repository) as old, source(None, repository) as new:
                same = fingerprint(old) == fingerprint(new)
                theirs = builds.enter_context(built(f"{ref} ({commit[:9]})", old, extras, also=also))
                like = None if same else theirs.versions
                ours = builds.enter_context(built("the working tree", new, extras, like, also))
            notes = _differences(theirs, ours)
            if same:
                notes.append(f"{ref} and the working tree have the same package: the ratio is the machine's")
            for note in notes:
                say(note)
            yield Sides(ref, commit, Side(ref, theirs.python, files), Side("today", ours.python, files), notes)


def _differences(theirs: Build, ours: Build) -> list[str]:
    found = []
    for name in sorted({*theirs.versions, *ours.versions} - {"asyncblock"}):
        there, here = (build.versions.get(name, "not installed") for build in (theirs, ours))
        if there != here:
            found.append(f"{name}: {there} there, {here} here")
    return found


def compare(name: str, cases: Sequence[Case], both: Sides, limits: Limits) -> Compared:
    """Measure cases of a benchmark in paired rounds until their intervals are narrow enough or a limit is reached."""
    by_subject: dict[str, list[Case]] = {}
    for case in cases:
        by_subject.setdefault(case.subject.name, []).append(case)
    rounds = _Rounds(both)
    began = time.monotonic()
    for place, each in enumerate(by_subject.values()):
        # What one leaves of its share of the time is the others'.
        share = (limits.seconds - (time.monotonic() - began)) / (len(by_subject) - place)
        rounds.measure(name, each, limits, time.monotonic() + share)
    return rounds.compared(limits)


class _Rounds:
    """The rounds of one benchmark, subject after subject."""

    def __init__(self, both: Sides) -> None:
        self.both = both
        self.theirs: dict[str, list[float]] = {}
        self.ours: dict[str, list[float]] = {}
        self.estimates: dict[str, Estimate] = {}
        self.missing: dict[str, str] = {}
        self.broken: dict[str, str] = {}

    def measure(self, name: str, cases: Sequence[Case], limits: Limits, until: float) -> None:
        """Measure a subject's cases."""
        for number in count(1):
            found = self._round(cases, number)
            if found is None:
                return
            theirs, ours = found
            for case in cases:
                self.theirs.setdefault(case.name, []).append(theirs[case.figure])
                self.ours.setdefault(case.name, []).append(ours[case.figure])
            self._judge(cases)
            left = self._left(cases, limits, number)
            say(f"{name}, round {number}: {'; '.join(map(self._progress, cases))}{left}")
            if self._enough(cases, limits, number, until):
                return

    def _round(self, cases: Sequence[Case], number: int) -> tuple[dict[str, float], dict[str, float]] | None:
        """Measure both once; ``None`` when one of them failed."""
        step = 1 if number % 2 else -1
        found = []
        for side in (self.both.theirs, self.both.ours)[::step]:
            try:
                found.append(cases[0].subject.run(side))
            except RuntimeError as error:
                self._failed(cases, number, side, str(error))
                return None
        theirs, ours = found[::step]
        return theirs, ours

    def _failed(self, cases: Sequence[Case], number: int, side: Side, why: str) -> None:
        told = f"{side.name} failed in round {number}: {why}"
        say(f"  {told}")
        for case in cases:
            if number <= FEWEST:
                self.estimates.pop(case.name, None)
            (self.broken if side is self.both.ours else self.missing)[case.name] = told

    def _judge(self, cases: Sequence[Case]) -> None:
        for case in cases:
            pairs = list(zip(self.ours[case.name], self.theirs[case.name], strict=True))
            if any(figure <= 0 for pair in pairs for figure in pair):
                self.estimates.pop(case.name, None)
                self.missing[case.name] = "a round's figure isn't above 0: there is no ratio"
                continue
            ratios = [ours / theirs if case.more_is_better else theirs / ours for ours, theirs in pairs]
            self.estimates[case.name] = estimate(ratios)

    def _progress(self, case: Case) -> str:
        now = self.estimates.get(case.name)
        if now is None:
            return f"{case.name} {self.missing[case.name]}"
        interval = f" ({now.low:.3f} to {now.high:.3f})" if now.low else ""
        return f"{case.name} {now.ratio:.3f}x{interval}".lstrip()

    def _left(self, cases: Sequence[Case], limits: Limits, number: int) -> str:
        """Say how many more rounds it may take: half the width takes four times as many."""
        widest = max((self.estimates[case.name].reach for case in cases if case.name in self.estimates), default=0.0)
        if number < _FIRST_LOOK or widest <= limits.within:
            return ""
        return f"; about {math.ceil(number * ((widest / limits.within) ** 2 - 1))} more for {limits.within:.3g}"

    def _enough(self, cases: Sequence[Case], limits: Limits, number: int, until: float) -> bool:
        if number < FEWEST or number % 2:
            # After an odd one, one order was measured more often than the other.
            return False
        left = [self.estimates[case.name] for case in cases if case.name in self.estimates]
        narrow = number >= _FIRST_LOOK and all(each.reach <= limits.within for each in left)
        return narrow or number >= limits.rounds or time.monotonic() > until

    def compared(self, limits: Limits) -> Compared:
        """Return what was found."""
        theirs, found = _medians(self.theirs), self.estimates
        notes = [f"{side.name}: {note}" for side in (self.both.theirs, self.both.ours) for note in sorted(side.notes)]
        against = Against(
            self.both.ref,
            self.both.commit,
            figure={case: theirs[case] for case in found},
            ratio={case: each.ratio for case, each in found.items()},
            interval={case: (each.low, each.high) for case, each in found.items()},
            rounds={case: each.rounds for case, each in found.items()},
            within=limits.within,
            notes=[*self.both.notes, *notes],
        )
        return Compared(against if found else None, _medians(self.ours), self.missing, self.broken)


def _medians(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {case: statistics.median(figures) for case, figures in rounds.items()}
