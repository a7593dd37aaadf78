"""Limits: how much of a value a preview shows. They are applied before anything is converted."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import LocalProtocolError

__all__ = ["Limits", "default_limits", "set_default_limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is shown. Every limit is at least 1; ``dataclasses.replace`` changes some of them."""

    rows: int = 10
    """Rows up to which a table is shown whole; at least twice ``ends``."""
    ends: int = 5
    """Rows shown of the beginning and of the end of a longer one."""
    table_bytes: int = 8 << 20
    """Bytes of rows, from the first one on, that a longer table has beside it in pages."""
    columns: int = 200
    """Columns shown; one more says how many were left out."""
    cell: int = 1000
    """Characters of a cell."""
    text: int = 64 << 10
    """Characters of the text that stands for a value that nothing else can show."""
    pixels: int = 4_000_000
    """Pixels of an image as it is shown; larger ones are made smaller."""
    source_pixels: int = 64_000_000
    """Pixels of a picture that is decoded at all; of a larger one only the size is looked at."""
    points: int = 200_000
    """Values of a plotly or Vega chart; a larger one isn't drawn."""
    bytes: int = 8 << 20
    """Bytes of one representation: HTML, SVG, JSON, text."""
    figure_bytes: int = 256 << 20
    """Bytes of a Figure that is handed to the worker process; a larger one is drawn on a thread."""
    seconds: float = 30.0
    """Time that the conversion of an async block's preview has, and the worker process to draw a figure."""

    @property
    def whole(self) -> int:
        """Rows up to which a table is shown whole: between two ends that meet there is no gap."""
        return max(self.rows, 2 * self.ends)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            kinds = (int, float) if each.name == "seconds" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                raise LocalProtocolError(f"the preview limit {each.name!r} is a number above 0, not {value!r}")


_default = Limits()


def default_limits() -> Limits:
    """Return the limits of previews that don't say theirs."""
    return _default


def set_default_limits(limits: Limits) -> None:
    """Set the limits of all previews of this process that don't say theirs."""
    global _default
    if not isinstance(limits, Limits):
        raise LocalProtocolError(f"limits are a preview.Limits, not {type(limits).__name__}")
    _default = limits
