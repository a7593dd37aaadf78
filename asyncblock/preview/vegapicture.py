"""Pictures of Vega-Lite charts, drawn by vl-convert where that is installed, in the worker process: it runs a V8."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["VegaLite", "can_draw", "png_of_vega"]


@dataclass(frozen=True, slots=True)
class VegaLite:
    """A chart's specification on its way to the worker."""

    specification: bytes
    version: str
    """The version of Vega-Lite, such as ``6.1``; empty if it isn't known."""


@cache
def can_draw() -> bool:
    """Tell whether vl-convert is installed. It isn't imported here."""
    return find_spec("vl_convert") is not None


def png_of_vega(chart: VegaLite, size: int) -> bytes:
    """Draw a chart with the data in it: nothing is fetched. Raises what vl-convert raises, and ``ValueError``."""
    drawing: Any = import_module("vl_convert")
    made: bytes = drawing.vegalite_to_png(
        chart.specification.decode(),
        vl_version=_known(chart.version, drawing.get_vegalite_versions()),
        allowed_base_urls=[],
    )
    if len(made) > size:
        raise ValueError(f"its picture has {len(made):,} bytes; the limit is {size:,}")
    return made


def _known(version: str, known: list[str]) -> str | None:
    """Return the nearest version of Vega-Lite that vl-convert has."""
    if version in known:
        return version
    major = version.partition(".")[0]
    return next((each for each in reversed(known) if each.partition(".")[0] == major), None)
