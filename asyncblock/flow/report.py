"""What is wrong with a flow, gathered: loading goes on after each problem as far as it makes sense."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidFlow, Problem
from .misfit import misfit
from .yamlfile import Map

__all__ = ["Report", "did_you_mean", "read_flag", "read_handles"]

Where = str | Path | None

_NEAR: Final = 0.85
"""How like a known key an unknown one is that is taken for a slip: ``input_from`` is, ``my_inputs`` isn't."""

_NEAR_SHORT: Final = 0.74
"""The same of keys of five letters or less: two that have changed places."""


class Report:
    """Problems (the flow is refused) and warnings (it isn't), each with file and line."""

    def __init__(self, *, compat: bool = False) -> None:
        self.compat = compat
        """Whether a flow runs as in the existing engine, ``oocana``, where ours would do something more sensible."""
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.hints: list[Problem] = []
        """Warnings that may be the cause of problems."""

    def problem(
        self,
        message: str,
        file: Where = None,
        line: int | None = None,
        *,
        code: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Add something that keeps the flow from running; ``code`` and ``subject`` as a ``Problem`` has them."""
        self.problems.append(Problem(message, None if file is None else str(file), line, code, subject))

    def warn(self, message: str, file: Where = None, line: int | None = None, *, code: str | None = None) -> None:
        """Add something that is odd and harmless."""
        self.warnings.append(Problem(message, None if file is None else str(file), line, code))

    def leftover(self, message: str, then: str, file: Where = None, line: int | None = None) -> None:
        """Add what the existing engine runs all the same: a problem, or where it is wanted so, a warning.

        ``then`` says what becomes of it there.
        """
        if self.compat:
            self.warn(f"{message}; as in oocana, {then}", file, line, code="compat")
        else:
            self.problem(message, file, line, code="compat")

    def misspelt(self, who: str, mapping: Map, known: Collection[str], file: Where) -> None:
        """Warn of keys that are nearly known ones: they are ignored as every unknown key is, and something is missing.

        Where the flow has problems this may be why, so it stands among them.
        """
        for key in mapping:
            if key in known or not isinstance(key, str):
                continue
            free = [each for each in known if each not in mapping]
            if near := difflib.get_close_matches(key, free, 1, _NEAR if len(key) > 5 else _NEAR_SHORT):
                words = f"{who}: {key!r} means nothing here and is ignored. Did you mean {near[0]!r}?"
                self.warn(words, file, mapping.line_of(key))
                self.hints.append(self.warnings[-1])

    def check(self) -> None:
        """Raise ``InvalidFlow`` with all problems, if there are any."""
        if self.problems:
            raise InvalidFlow(sorted({*self.problems, *self.hints}, key=lambda p: (p.file or "", p.line or 0)))


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
            if each.get("value") is not None and (words := misfit(each, each["value"])):
                where = each.line_of("value") if isinstance(each, Map) else place
                report.warn(f"{key}: the default of {each['handle']!r}: {words}", file, where)
    return list(defs.values())
