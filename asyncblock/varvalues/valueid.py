"""Which value a file holds, and the names of such files and of the directories that they are in."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, NamedTuple

__all__ = ["FILE_NAME", "OWNER_NAME", "REFERENCE", "ValueId", "session_part"]

OWNER_NAME: Final = re.compile(r"v-[0-9]+-[0-9a-f]{8}")
FILE_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")
REFERENCE: Final = re.compile(rf"([md])\.({OWNER_NAME.pattern})\.({FILE_NAME.pattern})")
"""How other processes are told of a file: memory or disk, owner, file. It can lead nowhere else."""


class ValueId(NamedTuple):
    """The identity of a value: the output of an attempt that it came from, by its number there."""

    session_id: str
    job_id: str
    attempt: int
    place: int

    def about(self) -> dict[str, Any]:
        """Return what its file says of it, so that a file under a wrong name is noticed."""
        return {"of": [*self]}

    def file(self) -> str:
        """Return the name of its file, without the directory."""
        return f"{session_part(self.session_id)}-{_digest(self.job_id, str(self.attempt), str(self.place))}"


def session_part(session_id: str) -> str:
    """Return how the names of all files of a session begin: by it they are found when the session ends."""
    return _digest(session_id)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]
