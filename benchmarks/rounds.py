"""Rounds: subjects measured in turns, each in a process of its own, and their medians.

What a measuring process puts into the temporary directory goes with it, however it ended.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from .report import say

__all__ = ["Case", "Measured", "NotMeasured", "Side", "Subject", "measure_in_turns"]

_TIMEOUT = 300.0
"""Seconds that one measurement may take."""


class NotMeasured(Exception):
    """A subject without which there is no benchmark has no figures; the message says why."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where a subject is measured when it isn't here: an interpreter that has one build of asyncblock."""

    name: str
    python: Path
    directory: Path
    """Holds the package ``benchmarks`` and no other."""
    notes: set[str] = field(default_factory=set)
    """What measuring processes said of the build."""

    def environment(self) -> dict[str, str]:
        """Return this process's environment without what would lead the interpreter to another build."""
        return {key: value for key, value in os.environ.items() if key not in _LEADING}


_LEADING = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"})


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure: ``function`` of ``module`` (``benchmarks.x:f``) with arguments, in a child process."""

    name: str
    function: str
    arguments: Mapping[str, Any]
    rival: bool = False
    """It runs on the standard loop, as it comes. What is ours runs on the loop that executor processes have."""

    def run(self, side: Side | None = None, *, within: bool = False) -> dict[str, float]:
        """Measure once, here or on a side. Raises ``RuntimeError`` with what the child said.

        ``within`` another measurement the child belongs to that one's group.
        """
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            # A server that gives up its privileges reads its configuration there.
            Path(scratch).chmod(0o711)
            return self._run(side, scratch, within)

    def _run(self, side: Side | None, scratch: str, within: bool) -> dict[str, float]:
        order = {"function": self.function, "arguments": dict(self.arguments), "rival": self.rival}
        child = subprocess.Popen(
            [side.python if side else sys.executable, "-m", "benchmarks.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=side.directory if side else None,
            env={**(side.environment() if side else os.environ), "TMPDIR": scratch},
            # With its servers it is a group of its own, which goes as a whole.
            start_new_session=not within,
        )
        try:
            out, words = child.communicate(orjson.dumps(order), _TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"no figure within {_TIMEOUT:g} s") from error
        finally:
            _end(child, group=not within)
        if child.returncode != 0:
            raise RuntimeError(_last_words(words))
        found = orjson.loads(out.splitlines()[-1])
        notes = found.pop("notes")
        if side:
            side.notes.update(notes)
        figures: dict[str, float] = found
        return figures


@dataclass(frozen=True, slots=True)
class Case:
    """A figure of ours that can be measured with another build, too: what gives it, under which name, and its unit."""

    name: str
    """``""`` where a benchmark has one case."""
    subject: Subject
    figure: str
    unit: str

    @property
    def more_is_better(self) -> bool:
        """It is a rate. All else (times, memory) is a cost."""
        return "/s" in self.unit


def _end(child: subprocess.Popen[bytes], *, group: bool) -> None:
    """Kill what is left of a child and of what it started: it would disturb whoever is measured next."""
    with suppress(ProcessLookupError):
        if group:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()


def _last_words(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


@dataclass(frozen=True, slots=True)
class Measured:
    """The medians of each subject's figures by name, and why a subject has none."""

    figures: Mapping[str, Mapping[str, float]]
    """One that isn't there raises ``NotMeasured``."""
    failed: Mapping[str, str]

    @property
    def peaks(self) -> dict[str, int]:
        """The most memory of each subject's largest process, in MB."""
        return {name: round(max(f["peak_mb"], f["children_peak_mb"])) for name, f in self.figures.items()}


class _Figures(dict[str, Mapping[str, float]]):
    def __init__(self, figures: Mapping[str, Mapping[str, float]], failed: Mapping[str, str]) -> None:
        super().__init__(figures)
        self._failed = failed

    def __missing__(self, name: str) -> Mapping[str, float]:
        raise NotMeasured(f"{name}: {self._failed.get(name, 'it has no figures')}")


def measure_in_turns(subjects: Sequence[Subject], rounds: int) -> Measured:
    """Measure every subject once in each round. One that fails in a round is left out of all that follow."""
    found: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    failed: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for subject in subjects:
            if subject.name in failed:
                continue
            say(f"round {number}/{rounds}: {subject.name}")
            try:
                found[subject.name].append(subject.run())
            except RuntimeError as error:
                failed[subject.name] = str(error)
                say(f"  not measured: {error}")
    medians = {name: _medians(each) for name, each in found.items() if each and name not in failed}
    return Measured(_Figures(medians, failed), failed)


def _medians(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the medians of what every round has: rounds without a figure would be the worst ones."""
    keys = [key for key in figures[0] if all(key in each for each in figures)]
    return {key: statistics.median(each[key] for each in figures) for key in keys}
