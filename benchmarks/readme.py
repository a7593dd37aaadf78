"""The README's table of figures, between its two markers. Only this writes there.

Rows of benchmarks that weren't measured stay, and the line above the table says of which day those are that were.
"""

from __future__ import annotations

import datetime
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from .report import QUICK, Result, Row, machine, rows

__all__ = ["BEGIN", "END", "table", "write"]

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
README = Path(__file__).resolve().parent.parent / "README.md"


TOGETHER: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "stall": {"of libraries": ("plotly 100 traces", "styler 5000", "i16 49mpx", "plotnine")},
    "frames": {
        "between processes": (
            *("fan out", "hand over", "hand over further", "made shared", "made shared further"),
            *("strings", "strings further", "lag", "stream", "pipeline"),
        )
    },
    "page": {
        "live": ("preview p50", "preview p99", "frames", "age", "with 20 followers"),
        "afterwards": ("first paint", "process mb", "tab mb", "report", "report mb"),
    },
}
"""Cases that have one row together, by its name: the README has no room for one each."""

_NOT_SHOWN: Final = "Not shown: "


def table(results: Sequence[Result], missed: Mapping[str, str] | None = None, before: str = "") -> str:
    """Return the table with where and when it was made, and which benchmarks are missing for what reason.

    ``before`` is a table whose rows stay where nothing was measured anew.
    """
    made = [line for line in before.strip().splitlines() if line]
    rows_before = [line for line in made[3:] if line.startswith("|")]
    anew = [*(result.name for result in results), *(missed or {})]
    staying = [line for line in rows_before if _of(line) not in anew]
    beside = any(result.against for result in results) and not staying
    fresh = {result.name: [_line(row, beside) for row in _together(result)] for result in results}
    hidden = _hidden(results, missed)
    if staying:
        head, columns = made[0], made[1:3]
        # Where they stood; what is new stands last.
        order = list(dict.fromkeys((*map(_of, rows_before), *fresh)))
        for name in fresh:
            head = re.sub(rf" {name} {_DAY}\.", "", head) + f" {name} {datetime.date.today().isoformat()}."
        old = made[-1].removeprefix(_NOT_SHOWN).removesuffix(".") if made[-1].startswith(_NOT_SHOWN) else ""
        hidden = [*filter(None, [old]), *(each for each in hidden if each not in old)]
    else:
        head = _head(results)
        columns = [
            f"| benchmark | asyncblock | to reach | in the same run |{' against | ' if beside else ''}".rstrip(),
            f"|---|---|---|---|{'---|' if beside else ''}",
        ]
        order = list(fresh)
    lines = [head, "", *columns]
    for name in order:
        lines += fresh.get(name) or [line for line in staying if _of(line) == name]
    if hidden:
        lines += ["", f"{_NOT_SHOWN}{'; '.join(hidden)}."]
    return "\n".join(lines)


_DAY: Final = r"\d{4}-\d\d-\d\d"


def _of(line: str) -> str:
    """Return which benchmark a row is of."""
    return line.split()[1]


def _head(results: Sequence[Result]) -> str:
    where = machine()
    versions = where["versions"]
    assert isinstance(versions, dict)
    with_what = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "asyncblock")
    quick = any(result.conditions.get(QUICK) for result in results)
    how = "Short runs, not for figures" if quick else "Medians of one run"
    return (
        f"Measured {datetime.date.today().isoformat()}: {where['cores']} cores, {where['system']}, "
        f"{platform.python_implementation()} {where['python']}, {with_what}. {how}."
    )


def _hidden(results: Sequence[Result], missed: Mapping[str, str] | None) -> list[str]:
    hidden = [f"{rival} ({why})" for result in results for rival, why in result.not_shown.items()]
    return hidden + [f"{name} ({why})" for name, why in (missed or {}).items()]


def _line(row: Row, beside: bool) -> str:
    line = f"| {row.what} | {row.ours} | {row.must} | {row.rivals} |"
    return f"{line} {row.against} |" if beside else line


def _together(result: Result) -> list[Row]:
    """Return the rows of a benchmark; those of cases that belong together are one."""
    groups = TOGETHER.get(result.name, {})
    found: dict[str, dict[str, Row]] = {}
    for row in rows(result):
        case = row.what.removeprefix(result.name).strip()
        group = next((name for name, cases in groups.items() if case in cases), None)
        found.setdefault(row.what if group is None else f"{result.name} {group}", {})[case] = row
    return [
        next(iter(each.values()))
        if what in {row.what for row in each.values()}
        else Row(what, *(_joined(each, column) for column in ("ours", "must", "rivals", "against")))
        for what, each in found.items()
    ]


def _joined(rows: Mapping[str, Row], column: str) -> str:
    """Return what rows have in a column, each with its case."""
    told = {case: getattr(row, column) for case, row in rows.items()}
    return "; ".join(f"{case} {text}" for case, text in told.items() if text)


def write(results: Sequence[Result], path: Path = README, *, missed: Mapping[str, str] | None = None) -> None:
    """Put the table between the markers. Raises ``ValueError`` when they aren't there."""
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} ... {END}")
    path.write_text(f"{before}{BEGIN}\n{table(results, missed, old)}\n{END}{after}", "utf-8")
