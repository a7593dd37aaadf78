"""What a benchmark found: one JSON line, and one row of the README's table for each case."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

__all__ = ["QUICK", "Against", "Figure", "Result", "Row", "from_json", "machine", "rows", "to_json"]

QUICK = "quick"
"""The condition of a short run: to see that it works, not for figures."""

Figure = float | Mapping[str, float]
"""A number, or a number for each case."""


@dataclass(frozen=True, slots=True)
class Against:
    """Ours beside the same figures of another commit's build, in paired rounds; by case (``""`` where there is one)."""

    ref: str
    """As it was given."""
    commit: str
    figure: Mapping[str, float]
    """The median of the other build's rounds."""
    ratio: Mapping[str, float]
    """How many times as good ours is. Above 1 it is better: more of a rate, less of a time or of memory."""
    interval: Mapping[str, tuple[float, float]]
    """It holds the true ratio with 95 %."""
    rounds: Mapping[str, int]
    within: float
    """How far intervals were to reach from their ratios, as a part of these."""
    notes: Sequence[str] = ()
    """What else differs between the two, such as versions of libraries."""

    def said(self, case: str) -> str:
        """Say the ratio of a case, with its interval."""
        low, high = self.interval[case]
        text = f"{self.ratio[case]:.3f}x of {self.ref} ({low:.3f} to {high:.3f} in {self.rounds[case]} rounds"
        reach = max(high / self.ratio[case], self.ratio[case] / low) - 1
        return f"{text})" if reach <= self.within else f"{text}: wider than {self.within:.3g})"


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one benchmark. Rivals that couldn't be measured are in ``not_shown`` with the reason."""

    name: str
    unit: str
    """For all cases, or one for each of them in order: ``(jobs/s, ms)``."""
    asyncblock: Figure
    rivals: Mapping[str, Figure] = field(default_factory=dict)
    must: Mapping[str, str] = field(default_factory=dict)
    """What is to be reached, in words, by case (``""`` where there is one case)."""
    conditions: Mapping[str, object] = field(default_factory=dict)
    not_shown: Mapping[str, str] = field(default_factory=dict)
    against: Against | None = None

    @property
    def ratio(self) -> dict[str, Figure]:
        """Ours divided by each rival's; by case where both have cases."""
        return {rival: _ratio(self.asyncblock, figure) for rival, figure in self.rivals.items()}


def _ratio(ours: Figure, theirs: Figure) -> Figure:
    if isinstance(ours, Mapping):
        by_case = theirs if isinstance(theirs, Mapping) else dict.fromkeys(ours, theirs)
        return {case: _divided(ours[case], by_case[case]) for case in ours if case in by_case}
    assert not isinstance(theirs, Mapping)
    return _divided(ours, theirs)


def _divided(ours: float, theirs: float) -> float:
    return float(f"{ours / theirs:.3g}") if theirs else float("inf")


def to_json(result: Result) -> bytes:
    """Return the result as one line."""
    conditions = {**machine(), **result.conditions}
    if result.not_shown:
        conditions["not_shown"] = dict(result.not_shown)
    if result.must:
        conditions["must"] = dict(result.must)
    line = {
        "name": result.name,
        "unit": result.unit,
        "asyncblock": _rounded(result.asyncblock),
        "rivals": {rival: _rounded(figure) for rival, figure in result.rivals.items()},
        "ratio": result.ratio,
        "conditions": conditions,
    }
    if result.against is not None:
        line["against"] = _against_to_json(result.against)
    return orjson.dumps(line)


_BY_CASE = ("figure", "ratio", "interval", "rounds")
"""Of ``Against``: plain in JSON where a benchmark has one case, as its figure is."""


def _against_to_json(against: Against) -> dict[str, object]:
    by_case: dict[str, Mapping[str, object]] = {
        "figure": {case: float(f"{value:.4g}") for case, value in against.figure.items()},
        "ratio": {case: round(value, 4) for case, value in against.ratio.items()},
        "interval": {case: [round(end, 4) for end in ends] for case, ends in against.interval.items()},
        "rounds": against.rounds,
    }
    bare = set(against.figure) == {""}
    return {
        "ref": against.ref,
        "commit": against.commit,
        **{key: value[""] if bare else value for key, value in by_case.items()},
        "within": against.within,
        "notes": list(against.notes),
    }


def _against_from_json(obj: dict[str, Any]) -> Against:
    by_case = {key: obj[key] if isinstance(obj["figure"], dict) else {"": obj[key]} for key in _BY_CASE}
    by_case["interval"] = {case: tuple(ends) for case, ends in by_case["interval"].items()}
    return Against(obj["ref"], obj["commit"], **by_case, within=obj["within"], notes=obj["notes"])


def from_json(line: bytes) -> Result:
    """Return the result that was made a line."""
    obj = orjson.loads(line)
    conditions = obj["conditions"]
    must, not_shown = conditions.pop("must", {}), conditions.pop("not_shown", {})
    against = _against_from_json(obj["against"]) if "against" in obj else None
    return Result(obj["name"], obj["unit"], obj["asyncblock"], obj["rivals"], must, conditions, not_shown, against)


def _rounded(figure: Figure) -> object:
    if isinstance(figure, Mapping):
        return {case: _rounded(value) for case, value in figure.items()}
    return float(f"{figure:.4g}")


def machine() -> dict[str, object]:
    """Say where the figures were made."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in ("asyncblock", "websockets", "orjson", "uvloop")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@dataclass(frozen=True, slots=True)
class Row:
    """A case for people: what, our figure with its unit, what is to be reached, the rivals' figures."""

    what: str
    ours: str
    must: str
    rivals: str
    against: str = ""
    """The ratio to another commit's build, with its interval."""


def rows(result: Result) -> list[Row]:
    """Return a row for each case."""
    cases = result.asyncblock if isinstance(result.asyncblock, Mapping) else {"": result.asyncblock}
    units = result.unit.strip("()").split(", ") if result.unit.startswith("(") else [result.unit] * len(cases)
    return [
        Row(
            f"{result.name} {case}".strip().replace("_", " "),
            f"{_plain(value)} {unit}",
            result.must.get(case, ""),
            "; ".join(_beside(result, case)),
            _against(result, case),
        )
        for (case, value), unit in zip(cases.items(), units, strict=True)
    ]


def _beside(result: Result, case: str) -> list[str]:
    found = []
    for rival, figure in result.rivals.items():
        value = figure.get(case) if isinstance(figure, Mapping) else figure
        if value is not None:
            found.append(f"{rival} {_plain(value)}")
    return found


def _against(result: Result, case: str) -> str:
    if result.against is None:
        return ""
    if case or "" in result.against.ratio:
        return result.against.said(case) if case in result.against.ratio else ""
    # One figure is shown, of several that were compared.
    return "; ".join(f"{each}: {result.against.said(each)}" for each in result.against.ratio)


def _plain(value: float) -> str:
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def say(text: str) -> None:
    """Tell people how far it is; figures go to standard output, this doesn't."""
    print(text, file=sys.stderr, flush=True)
