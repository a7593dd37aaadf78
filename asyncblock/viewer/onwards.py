"""Going on with sessions: a retry of one that failed, a resume of one that was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..client import Mainframe

__all__ = ["EditedCode", "Resumes", "Retries", "RetriesThere"]


@dataclass(frozen=True, slots=True)
class EditedCode:
    """A package that was edited since a session began."""

    package: str
    version: str
    """With which it began."""
    now: str


class Resumes(Protocol):
    """A session that can go on though its process was killed."""

    async def edited(self) -> list[EditedCode]:
        """Return what was edited since. The session waits for the old versions, unless ``resume`` accepts them.

        **Cancellation** is safe.
        """
        ...

    async def resume(self, accept: Sequence[str] = ()) -> None:
        """Go on with it. Blocks of the accepted versions run the code that is there now.

        **Durability**: on return it goes on. **Cancellation** may leave it going on. Raises ``AsyncBlockError``.
        """
        ...


class Retries(Protocol):
    """A session that has failed or was cancelled, and that a new session can continue."""

    async def told(self) -> dict[str, Any]:
        """Return what stays as it was (``kept``), and why what runs again does (``again``).

        **Cancellation** is safe.
        """
        ...

    async def start(self) -> str:
        """Start the session and return its id.

        **Durability**: on return it is in the journal. **Cancellation** may leave it started. Raises
        ``AsyncBlockError`` with what to do.
        """
        ...


class RetriesThere:
    """A session of a mainframe, by what ``asyncblock retry`` does: its flow is read anew, on this machine."""

    def __init__(self, mainframe: Mainframe, session_id: str) -> None:
        self._mainframe = mainframe
        self._session_id = session_id

    async def told(self) -> dict[str, Any]:
        """Return what stays, and what runs again. **Cancellation** is safe. Raises as ``Mainframe.plan_retry``."""
        made = await self._mainframe.plan_retry(self._session_id)
        return {"kept": made.kept, "again": made.again}

    async def start(self) -> str:
        """Start the session. **Durability**, **Cancellation** and what it raises are as for ``Mainframe.retry``."""
        session = await self._mainframe.retry(self._session_id)
        return session.session_id
