"""Libraries that authors have brought in: ours are never the first to import them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["brought"]


def brought(name: str, having: str | None = None) -> Any:
    """Return a module that is imported, with an attribute that it must have; else None.

    One whose import isn't finished counts as absent: another thread is in the middle of it, and no value here can be
    of it yet. So does an author's own module that merely has the name.
    """
    module = sys.modules.get(name)
    if not isinstance(module, ModuleType) or (having is not None and having not in vars(module)):
        return None
    # As the import system itself asks, before it hands a module out.
    return None if getattr(getattr(module, "__spec__", None), "_initializing", False) else module
