"""asyncblock: workflow blocks as ordinary ``async`` functions; what the mainframe acknowledges is on disk.

A block::

    async def main(inputs, ctx):
        await ctx.report_progress(10)
        await ctx.output(inputs["a"] + 1, "b")

Three objects: a block gets a ``Context``; a service gets a ``Mainframe`` from ``connect`` or ``embedded`` and a
``Session`` from ``Mainframe.start``; blocks written in Python code stand under ``@block`` and are hosted by an
``Executor``.

Floors of the house, imports go downwards only: ``errors``; ``wire`` (the protocol as data; its docstring is the
specification) and ``transport``; ``runtime`` and ``link``; ``values``, ``preview``, ``store``, ``body`` and ``block``;
``context``; ``client``; ``executor``; ``flow``; ``server``; ``inprocess``, ``testing``, ``cli`` and ``examples``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .block import Bin, Var, block
from .errors import (
    AsyncBlockError,
    BlockFailed,
    Closed,
    ConnectionLost,
    FlowFailed,
    InvalidFlow,
    LeaseLost,
    PayloadTooLarge,
    Rejected,
    UnserializableValue,
)

if TYPE_CHECKING:
    __version__: str
    from .body import Body
    from .client import Mainframe, Session, connect
    from .context import Context, SyncContext
    from .executor import Executor
    from .inprocess.embedding import embedded
    from .inprocess.running import Flow

__all__ = [
    "AsyncBlockError",
    "Bin",
    "BlockFailed",
    "Body",
    "Closed",
    "ConnectionLost",
    "Context",
    "Executor",
    "Flow",
    "FlowFailed",
    "InvalidFlow",
    "LeaseLost",
    "Mainframe",
    "PayloadTooLarge",
    "Rejected",
    "Session",
    "SyncContext",
    "UnserializableValue",
    "Var",
    "block",
    "connect",
    "embedded",
]

_LAZY = {
    "Body": "body",
    "Context": "context",
    "SyncContext": "context",
    "Mainframe": "client",
    "Session": "client",
    "connect": "client",
    "embedded": "inprocess.embedding",
    "Executor": "executor",
    "Flow": "inprocess.running",
}
_MODULES = frozenset({"shared"})
"""Modules that are there without being imported."""


def __getattr__(name: str) -> Any:
    # The only trick: importing the package costs no websockets, no SQLite, no YAML until they are used.
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "__version__":
        from ._version import installed_version

        return installed_version()
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
