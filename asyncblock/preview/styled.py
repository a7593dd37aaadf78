"""Tables with a style of their own: of pandas' Styler and of great_tables only as many rows as are shown are styled.

Neither can be pickled, and both run Python for each cell, on the thread. ``_CELLS`` bounds that.
"""

from __future__ import annotations

from typing import Any

from .cells import sendable
from .jupyter import payload_of
from .limits import Limits
from .registry import register_builtin
from .table import frame_payload

__all__: list[str] = []

_CELLS = 400
"""Cells that are styled."""

_LEAST = 5
"""Rows that are styled, however wide the table is."""


def _shown_rows(rows: int, columns: int) -> int:
    return min(rows, max(_LEAST, _CELLS // max(columns, 1)))


def _styler(styler: Any, limits: Limits) -> Any:
    frame = styler.data
    rows, columns = frame.shape
    width = min(columns, limits.columns)
    shown = _shown_rows(rows, width)
    note = {}
    if shown < rows or width < columns:
        note = {"note": f"the first {shown:,} of {rows:,} rows, styled by themselves"}
        part = frame.iloc[:shown, :width]
        try:
            again = part.style.use(styler.export())
            # Its number formats are functions of a cell's value, which an export doesn't have.
            again._display_funcs = styler._display_funcs
            again.caption = styler.caption
            html = again.to_html()
        except Exception:
            # The style is for a row or a column that isn't shown.
            return {**frame_payload(frame, limits), "note": "without its style"}
    else:
        html = styler.to_html()
    return {**payload_of({"text/html": sendable(html)}, limits), **note}


def _great(table: Any, limits: Limits) -> Any:
    frame = table._tbl_data
    rows, columns = frame.shape
    if rows <= _shown_rows(rows, columns):
        return payload_of({"text/html": table.as_raw_html()}, limits)
    return {**frame_payload(frame, limits), "note": f"without its style: it has {rows:,} rows"}


register_builtin("pandas.io.formats.style.Styler", _styler)
register_builtin("great_tables.gt.GT", _great)
