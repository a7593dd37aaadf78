"""Named points at which a process kills itself when its environment says so: how recovery is tested at its seams."""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["NAMES", "VARIABLE", "reached", "sending"]

VARIABLE: Final = "ASYNCBLOCK_CRASH_AT"
"""``NAME:N``: die when the point is reached for the Nth time."""

NAMES: Final = frozenset({"before_commit", "after_commit", "before_ack", "before_dispatch", "before_reply"})

_armed: list[str | int] | None = None
if VARIABLE in os.environ:
    _name, _, _count = os.environ[VARIABLE].partition(":")
    _armed = [_name, int(_count or 1)]


def reached(name: str) -> None:
    """Die here if this is the point; otherwise nothing, at the price of the call."""
    if _armed is None or _armed[0] != name:
        return
    left = int(_armed[1]) - 1
    _armed[1] = left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def sending(message: bytes) -> None:
    """Die here if this is the point before a message with such a control line goes onto the wire."""
    if _armed is None:
        return
    for name in ("ack", "dispatch", "reply"):
        if b'{"op":"%b"' % name.encode() in message:
            reached(f"before_{name}")
