"""How things are shown in notebooks. What makes the views stands above (``notebook``), and is loaded when it is asked.

So that a session can show itself, and importing it brings nothing of that along.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["bundle_of", "live"]

_VIEWS = f"{__package__}.notebook"


def bundle_of(value: object) -> dict[str, Any]:
    """Return a value's representations by media type."""
    bundle: dict[str, Any] = import_module(_VIEWS).bundle_of(value)
    return bundle


async def live(session: object) -> None:
    """Show a session until it ends."""
    await import_module(_VIEWS).live(session)
