"""Rounds: subjects measured in turns, each in a process of its own, and their medians."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .report import say

__all__ = ["Measured", "Subject", "measure_in_turns"]

_TIMEOUT = 300.0
"""Seconds that one measurement may take."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to measure: ``function`` of ``module`` (``benchmarks.x:f``) with arguments, in a child process."""

    name: str
    function: str
    arguments: Mapping[str, Any]
    rival: bool = False
    """It runs on the standard loop, as it comes. What is ours runs on the loop that executor processes have."""

    def run(self) -> dict[str, float]:
        """Measure once. Raises ``RuntimeError`` with what the child said."""
        order = {"function": self.function, "arguments": dict(self.arguments), "rival": self.rival}
        line = orjson.dumps(order)
        try:
            child = subprocess.run(
                [sys.executable, "-m", "benchmarks.child"], input=line, capture_output=True, timeout=_TIMEOUT
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"no figure within {_TIMEOUT:g} s") from error
        if child.returncode != 0:
            raise RuntimeError(_last_words(child.stderr))
        found: dict[str, float] = orjson.loads(child.stdout.splitlines()[-1])
        return found


def _last_words(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


@dataclass(frozen=True, slots=True)
class Measured:
    """The medians of each subject's figures by name, and why a subject has none."""

    figures: Mapping[str, Mapping[str, float]]
    failed: Mapping[str, str]


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
    return Measured(medians, failed)


def _medians(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in figures) for key in figures[0]}
