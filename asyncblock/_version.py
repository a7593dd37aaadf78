"""The release: said to mainframes, in reports and by the commands. In a file of its own, for every floor may ask."""

from __future__ import annotations

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
