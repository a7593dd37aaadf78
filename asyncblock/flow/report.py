"""What is wrong with a flow, gathered: loading goes on after each problem as far as it makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidFlow, Problem
from .yamlfile import Map

__all__ = ["Report", "did_you_mean", "read_flag", "read_handles"]

Where = str | Path | None


class Report:
    """Problems (the flow is refused) and warnings (it isn't), each with file and line."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def problem(self, message: str, file: Where = None, line: int | None = None) -> None:
        """Add something that keeps the flow from running."""
        self.problems.append(Problem(message, None if file is None else str(file), line))

    def warn(self, message: str, file: Where = None, line: int | None = None) -> None:
        """Add something that is odd and harmless."""
        self.warnings.append(Problem(message, None if file is None else str(file), line))

    def check(self) -> None:
        """Raise ``InvalidFlow`` with all problems, if there are any."""
        if self.problems:
            raise InvalidFlow(sorted(set(self.problems), key=lambda p: (p.file or "", p.line or 0)))


def did_you_mean(names: Iterable[str]) -> str:
    """Say which names there are, for a message about one that there isn't."""
    known = sorted(names)
    return f"; there is {', '.join(map(repr, known[:10]))}" if known else ""


def read_flag(report: Report, who: str, mapping: Map, key: str, file: Where) -> bool:
    """Read a truth value; what isn't there is false."""
    found = mapping.get(key)
    if not isinstance(found, bool | None):
        report.problem(f"{who}: {key!r} must be true or false", file, mapping.line_of(key))
    return found is True


def read_handles(report: Report, mapping: Mapping[str, Any], key: str, file: Where) -> list[dict[str, Any]]:
    """Read ``inputs_def`` or ``outputs_def``; separators (``group``) are skipped."""
    found = mapping.get(key)
    if found is None:
        return []
    line = mapping.line_of(key) if isinstance(mapping, Map) else None
    if not isinstance(found, list):
        report.problem(f"{key!r} must be a list", file, line)
        return []
    defs: dict[str, dict[str, Any]] = {}
    for each in found:
        if isinstance(each, Map) and "group" in each and "handle" not in each:
            continue
        place = getattr(each, "line", line)
        if not isinstance(each, dict) or not isinstance(each.get("handle"), str):
            report.problem(f"{key}: each entry needs a 'handle'", file, place)
        elif each["handle"] in defs:
            report.problem(f"{key}: handle {each['handle']!r} stands twice", file, place)
        else:
            defs[each["handle"]] = dict(each)
    return list(defs.values())
