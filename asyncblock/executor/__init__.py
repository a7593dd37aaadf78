"""The executor: loads blocks and runs their jobs, in its own process or inside a service.

``Executor`` is the public face; ``ServiceContext`` is what a service's ``main`` gets. It never imports the server:
another language may replace either.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executor import Executor
    from .service import ServiceContext

__all__ = ["Executor", "ServiceContext"]

_LAZY = {"Executor": "executor", "ServiceContext": "service"}


def __getattr__(name: str) -> Any:
    # Workers of a block's process pool import ``code.imports`` from here and nothing else.
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
