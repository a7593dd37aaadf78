"""The journal: the mainframe's only durable state. What it has reported as stored survives; nothing else is promised.

**What is stored.** Sessions and their *entries* (bytes at the offsets 0, 1, 2, ... of a session), links with their
*mark* (the highest stored sequence number), answers to requests, snapshots, and *bodies* (files beside the journal,
named by the entries). A ``Write`` is a list of changes that become visible and durable together or not at all.

**What stored means.** ``Write.stored`` runs on the event loop after the commit. With ``synchronous="normal"`` a commit
survives the death of the process at any point (kill -9, an exception, exit without close); after a power loss or a
crash of the kernel what is missing is a suffix of the commits. With ``"full"`` each commit, and each body before the
commit that names it, is synced first and survives power loss too, as far as the disk keeps its word.

**Order.** Writes commit in the order of the calls, except that an urgent one overtakes those with which it shares
nothing (see ``Journal.write``); callbacks run in the order of the commits. A read sees everything whose ``stored`` has
run, and may see commits whose ``stored`` has yet to run.

**Epoch.** The journal's identity: random, made with the data directory. It changes at an opening when the journal may
not be a continuation of what was acknowledged under it: the file was copied or restored, or the machine went down
under ``normal``. ``Opening.changed`` gives the reason. Two things can't be seen from here: a snapshot of a whole disk
or machine that is rolled back while the journal was closed, and a copy made during this very use of the journal whose
files were all overwritten in place.

**Trouble.** When a commit or a write of a body fails (disk full, I/O error) nothing is dropped: it is kept in memory
and tried again after 0.1 s, 0.2 s, ... 5 s. ``on_trouble`` and ``on_recovered`` tell the edges. Closing in trouble
raises ``Unavailable``, which says what was not stored; no ``stored`` has run for it.

**Threads.** Calls are made on the event loop that opened the journal and never wait; answers come back to it with one
wake-up for each commit. A writer thread owns the write connection, others read, copy the write-ahead log into the
database, and write bodies. They are daemons: a process that leaves without ``close`` is a process that was killed.

``sqlite`` is the journal, ``memoryjournal`` its stand-in for simulations. Both pass the same conformance suite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .contract import (
    MAX_OFFSET,
    RUNNING,
    Bodies,
    BodyKey,
    BodyRow,
    DropBody,
    Journal,
    LinkRow,
    Opening,
    RequestRow,
    SessionRow,
    Snapshot,
    Stats,
    Write,
)

if TYPE_CHECKING:
    from .sqlite import SqliteJournal

__all__ = [
    "MAX_OFFSET",
    "RUNNING",
    "Bodies",
    "BodyKey",
    "BodyRow",
    "DropBody",
    "Journal",
    "LinkRow",
    "Opening",
    "RequestRow",
    "SessionRow",
    "Snapshot",
    "SqliteJournal",
    "Stats",
    "Write",
]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: a command that only looks for a mainframe needs no database.
    if name != "SqliteJournal":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.sqlite").SqliteJournal
