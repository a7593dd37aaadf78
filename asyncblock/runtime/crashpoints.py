"""Named points at which a process kills itself when its environment says so: how recovery is tested at its seams."""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["DELETING", "EXECUTOR", "EXPORTING", "MAINFRAME", "NAMES", "VARIABLE", "reached", "recording", "sending"]

VARIABLE: Final = "ASYNCBLOCK_CRASH_AT"
"""``NAME:N:FILE``: die when the point is reached for the Nth time, unless the file is there already."""

MAINFRAME: Final = frozenset({"before_commit", "after_commit", "before_ack", "before_dispatch", "before_reply"})
"""Points in a mainframe."""

DELETING: Final = frozenset({"before_deletion", "before_release"})
"""Points in a mainframe between what is committed and the files that go because of it, its own and executors'."""

EXECUTOR: Final = frozenset({"before_started", "after_started", "before_finish", "after_finish", "finish_acked"})
"""Points in an executor: around a job's first record and its last on their way, and when the last is acknowledged."""

EXPORTING: Final = frozenset({"before_exported"})
"""Points in an executor between a value's file and the word of it."""

NAMES: Final = MAINFRAME | DELETING | EXECUTOR | EXPORTING

_armed: list[str | int] | None = None
_once = ""
if VARIABLE in os.environ:
    _name, _, _count = os.environ[VARIABLE].partition(":")
    _count, _, _once = _count.partition(":")
    _armed = [_name, int(_count or 1)]


def reached(name: str) -> None:
    """Die here if this is the point; otherwise nothing, at the price of the call."""
    if _armed is None or _armed[0] != name:
        return
    left = int(_armed[1]) - 1
    _armed[1] = left
    if left == 0 and _first():
        os.kill(os.getpid(), signal.SIGKILL)


def _first() -> bool:
    """Tell whether no other process with this environment has died here."""
    if not _once:
        return True
    try:
        os.close(os.open(_once, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def recording(message: bytes, when: str) -> None:
    """Die here if this is the point ``before`` or ``after`` records like those of a message go onto the wire."""
    if _armed is None:
        return
    for name, record in (("started", b"JobStarted"), ("finish", b"BlockFinished")):
        if b'"type":"%b"' % record in message:
            reached(f"{when}_{name}")


def sending(message: bytes) -> None:
    """Die here if this is the point before a message with such a control line goes onto the wire."""
    if _armed is None:
        return
    for name in ("ack", "dispatch", "reply", "release"):
        if b'{"op":"%b"' % name.encode() in message:
            reached(f"before_{name}")
