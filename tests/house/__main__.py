"""Print the house's figures as the table of ``docs/architecture.md`` has them, and with ``-v`` what breaks each law."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Final

from .laws import LAWS, circles
from .source import ROOT, Module, modules

_PAGE: Final = ROOT.parent / "docs" / "architecture.md"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.house", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="also say what breaks each law, and where")
    parser.add_argument("--write", action="store_true", help="put the table into docs/architecture.md")
    asked = parser.parse_args()
    found = modules()
    rows = [f"| {what} | {figure} |" for what, figure in _figures(found).items()]
    for law in LAWS:
        broken = law.broken(found)
        rows.append(f"| {law.words} | {len(broken) or 'holds'}{' break it' if broken else ''} |")
        if asked.verbose and broken:
            rows += [f"    {law.mend}:", *(f"    {each}" for each in broken)]
    print("\n".join(rows))
    if asked.write:
        _write([row for row in rows if row.startswith("|")])


def _write(rows: list[str]) -> None:
    before, mark, rest = _PAGE.read_text("utf-8").partition("<!-- house -->\n")
    end = rest[rest.index("<!-- /house -->") :]
    table = "\n".join(["| the house | |", "|---|---|", *rows, ""])
    _PAGE.write_text(f"{before}{mark}{table}{end}", "utf-8")


def _figures(found: list[Module]) -> dict[str, str]:
    lines, comments = sum(each.lines for each in found), sum(each.comments for each in found)
    loose = Counter(each.place.rpartition("/")[0] for each in found)
    rings = circles(found)
    longest = max(((each.end_lineno or 0) - each.lineno + 1, each.name) for module in found for each in module.classes)
    return {
        # Rounded: exact, they would differ after each change, and any two changes would be in each other's way.
        "files and lines, about": f"{round(len(found), -1)} and {round(lines, -3):,}",
        "circles of imports, the largest": f"{len(rings)}, {len(rings[0]) if rings else 0} files",
        "comments": f"{100 * comments / lines:.1f} % of the lines",
        "modules at the root, in server/, in executor/": ", ".join(
            str(loose[each]) for each in ("", "server", "executor")
        ),
        "longest class, docstrings counted": f"{longest[1]}, {longest[0]} lines",
    }


main()
