"""The shown rows of a table as HTML, as markdown and as CSV, for authors who ask for these."""

from __future__ import annotations

import html
from typing import Any

from ..values import dumps

__all__ = ["csv_table", "html_table", "markdown_table"]


def html_table(table: dict[str, Any]) -> str:
    """Return a table as HTML."""
    head = "".join(f"<th>{html.escape(_text(each))}</th>" for each in table["columns"])
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_text(each))}</td>' for each in row)}</tr>" for row in table["rows"]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def markdown_table(table: dict[str, Any]) -> str:
    """Return a table as markdown."""
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    return "".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines)


def csv_table(table: dict[str, Any]) -> str:
    """Return a table as CSV."""
    lines = [table["columns"], *table["rows"]] if table["columns"] else table["rows"]
    return "".join(",".join(map(_field, line)) + "\n" for line in lines)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else dumps(value).decode()


def _markdown(value: Any) -> str:
    return _text(value).replace("|", "\\|").replace("\n", " ")


def _field(value: Any) -> str:
    text = _text(value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(each in text for each in ',"\r\n') else text
