"""Rows of a session for another process, which asks for them one page after the other, as it would ask a journal.

A question is a line of JSON, what is called and with what. The answer is a line of JSON with the offset and the length
of each row, and then the rows.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

import orjson

from ..journal import Journal, Snapshot

__all__ = ["ASKING", "AskedRows", "answer_rows"]

ASKING: Final = "-"
"""Stands for the directory of a journal that no other process can read."""


async def answer_rows(journal: Journal, line: str) -> bytes:
    """Return the answer to a question. **Cancellation** is safe; raises what the journal does."""
    asked, *arguments = orjson.loads(line)
    rows: list[tuple[int, bytes]] = []
    match asked:
        case "page":
            rows = await journal.page(*arguments)
        case "entry":
            rows = [(arguments[1], await journal.entry(*arguments))]
        case "snapshot":
            found = await journal.snapshot(*arguments)
            rows = [] if found is None else [(found.offset, found.payload)]
    head = orjson.dumps([(offset, len(payload)) for offset, payload in rows])
    return b"".join([head, b"\n", *(payload for _, payload in rows)])


class AskedRows:
    """The asking side, as a journal: on a socket, and blocking, for its process does nothing else."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._answers = parent.makefile("rb")

    async def page(self, session_no: int, offset: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
        """Read entries as ``Journal.page``."""
        return self._ask("page", session_no, offset, max_bytes)

    async def entry(self, session_no: int, offset: int) -> bytes:
        """Read one entry as ``Journal.entry``."""
        [(_, payload)] = self._ask("entry", session_no, offset)
        return payload

    async def snapshot(self, session_no: int) -> Snapshot | None:
        """Read a snapshot as ``Journal.snapshot``."""
        for offset, payload in self._ask("snapshot", session_no):
            return Snapshot(session_no=session_no, offset=offset, payload=payload)
        return None

    def _ask(self, *question: object) -> list[tuple[int, bytes]]:
        head = b""
        with suppress(ConnectionError):
            self._parent.sendall(orjson.dumps(question) + b"\n")
            head = self._answers.readline()
        if not head:
            # The caller has gone, or can't read the rows: there is nothing to make it for.
            raise SystemExit("nobody answers any more")
        return [(offset, self._answers.read(size)) for offset, size in orjson.loads(head)]
