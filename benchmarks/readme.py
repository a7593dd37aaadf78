"""The README's table of figures, between its two markers. Only this writes there."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from .report import QUICK, Result, machine, rows

__all__ = ["BEGIN", "END", "table", "write"]

BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
README = Path(__file__).resolve().parent.parent / "README.md"


def table(results: Sequence[Result], missed: Mapping[str, str] | None = None) -> str:
    """Return the table with where and when it was made, and which benchmarks are missing for what reason."""
    where = machine()
    versions = where["versions"]
    assert isinstance(versions, dict)
    with_what = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "asyncblock")
    quick = any(result.conditions.get(QUICK) for result in results)
    how = "Short runs, not for figures" if quick else "Medians of one run"
    beside = any(result.against for result in results)
    lines = [
        f"Measured {datetime.date.today().isoformat()}: {where['cores']} cores, {where['system']}, "
        f"{platform.python_implementation()} {where['python']}, {with_what}. {how}.",
        "",
        f"| benchmark | asyncblock | to reach | in the same run |{' against | ' if beside else ''}".rstrip(),
        f"|---|---|---|---|{'---|' if beside else ''}",
    ]
    for result in results:
        for row in rows(result):
            line = f"| {row.what} | {row.ours} | {row.must} | {row.rivals} |"
            lines.append(f"{line} {row.against} |" if beside else line)
    hidden = [f"{rival} ({why})" for result in results for rival, why in result.not_shown.items()]
    hidden += [f"{name} ({why})" for name, why in (missed or {}).items()]
    if hidden:
        lines += ["", f"Not shown: {'; '.join(hidden)}."]
    return "\n".join(lines)


def write(results: Sequence[Result], path: Path = README, *, missed: Mapping[str, str] | None = None) -> None:
    """Put the table between the markers. Raises ``ValueError`` when they aren't there."""
    text = path.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no {BEGIN} ... {END}")
    path.write_text(f"{before}{BEGIN}\n{table(results, missed)}\n{END}{after}", "utf-8")
