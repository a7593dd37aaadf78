"""The mainframe: it holds flows, hands out jobs, keeps the journal and feeds those that watch.

Three parts with narrow interfaces, in one process today: the *gateway* (links and their connections), *sessions* (one
run of a flow each: a fold over its journal) and *dispatch* (which executor gets which job, under which lease). All of
it runs on one event loop. ``executor`` and ``server`` never import each other.

Order of things, for every event: decide at once in memory, write rows and marks as one transaction, and only when it
has committed acknowledge, hand out, answer and wake. Nobody outside ever sees state that is not in the journal. A
cancel is the exception: it is sent at once and journaled beside.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .mainframe import MainframeServer

__all__ = ["MainframeServer"]


def __getattr__(name: str) -> Any:
    # Commands that only look into a data directory load no mainframe.
    if name != "MainframeServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.mainframe").MainframeServer
