"""What a benchmark found: one JSON line, and one row of the README's table for each case."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import orjson

__all__ = ["Figure", "Result", "machine", "rows", "to_json"]

Figure = float | Mapping[str, float]
"""A number, or a number for each case."""


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one benchmark. Rivals that couldn't be measured are in ``not_shown`` with the reason."""

    name: str
    unit: str
    asyncblock: Figure
    rivals: Mapping[str, Figure] = field(default_factory=dict)
    must: Mapping[str, str] = field(default_factory=dict)
    """What is to be reached, in words, by case (``""`` where there is one case)."""
    conditions: Mapping[str, object] = field(default_factory=dict)
    not_shown: Mapping[str, str] = field(default_factory=dict)

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
    return orjson.dumps(
        {
            "name": result.name,
            "unit": result.unit,
            "asyncblock": _rounded(result.asyncblock),
            "rivals": {rival: _rounded(figure) for rival, figure in result.rivals.items()},
            "ratio": result.ratio,
            "conditions": conditions,
        }
    )


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
        "versions": {name: _version(name) for name in ("asyncblock", "websockets", "orjson")},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def rows(result: Result) -> list[tuple[str, str, str]]:
    """Return (what, ours with what must be reached, rivals) for each case, for people."""
    cases = result.asyncblock if isinstance(result.asyncblock, Mapping) else {"": result.asyncblock}
    made = []
    for case, value in cases.items():
        must = result.must.get(case, "")
        ours = f"{_plain(value)} {result.unit}" + (f" (to reach: {must})" if must else "")
        made.append((f"{result.name} {case}".strip(), ours, "; ".join(_beside(result, case))))
    return made


def _beside(result: Result, case: str) -> list[str]:
    found = []
    for rival, figure in result.rivals.items():
        value = figure.get(case) if isinstance(figure, Mapping) else figure
        if value is not None:
            found.append(f"{rival} {_plain(value)}")
    return found


def _plain(value: float) -> str:
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def say(text: str) -> None:
    """Tell people how far it is; figures go to standard output, this doesn't."""
    print(text, file=sys.stderr, flush=True)
