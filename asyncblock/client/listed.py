"""What a mainframe tells of its sessions without their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .many import group_of

__all__ = ["Pruned", "SessionInfo", "session_info"]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as a mainframe lists it. Times are ms since the epoch, ``bytes`` is what its journal takes."""

    session_id: str
    title: str
    path: str
    state: str
    created_at: int
    finished_at: int | None
    error: str | None
    bytes: int
    progress: float | None = None
    """How far a running one is, in percent."""
    rows: int | None = None
    """Rows of its journal; None where the mainframe doesn't say."""

    @property
    def group(self) -> str | None:
        """The runs that it belongs to, where ``map`` or a matrix has started it with others."""
        return group_of(self.session_id)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a ``prune`` has deleted."""

    sessions: tuple[str, ...]
    bytes: int
    """Of their journal entries and bodies."""


def session_info(row: dict[str, Any]) -> SessionInfo:
    """Read a row of a mainframe's answer."""
    # What a later mainframe says besides isn't known here.
    return SessionInfo(**{name: value for name, value in row.items() if name in SessionInfo.__dataclass_fields__})
