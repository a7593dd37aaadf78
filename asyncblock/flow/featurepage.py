"""The table of the flow language as a page of Markdown: ``asyncblock flows --reference``."""

from __future__ import annotations

from typing import Final

from .features import GROUPS

__all__ = ["reference_page"]

_HEAD: Final = """# YAML: what works, and what is refused

Written by `asyncblock flows --reference` from the table that `asyncblock flows` prints; a test runs each row that
works. What is refused is refused before anything runs, with file and line. [Flow files](flows.md) shows most of it in
one package that runs.
"""

_END: Final = """## Read next

[Flow files](flows.md); [which code runs](which-code-runs.md).
"""


def reference_page() -> str:
    """Return the page."""
    lines = [_HEAD]
    for title, rows in GROUPS:
        lines += [f"## {title}\n", "| what | here | that is | written |", "|---|---|---|---|"]
        for each in rows:
            written = f"`{each.yaml}`" if each.yaml else ""
            lines.append(f"| {each.name} | {each.state} | {each.note} | {written} |".replace("  ", " "))
        lines.append("")
    return "\n".join([*lines, _END])
