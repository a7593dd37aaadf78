"""The store: var values, kept in the process that made them until their session ends. They are lost with it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import LocalProtocolError

__all__ = ["EXECUTOR_NAME", "Store", "StoreKey"]

EXECUTOR_NAME: Final = "asyncblock"


@dataclass(frozen=True, slots=True)
class StoreKey:
    """What travels in place of a var value: who holds it, and the output that it was sent on."""

    executor: str
    handle: str
    job_id: str
    session_id: str
    cache: str | None = field(default=None, compare=False)
    """The name under which the value is kept beyond its process, if it is."""

    def to_json(self) -> dict[str, str]:
        """Return what travels."""
        made = {name: getattr(self, name) for name in sorted(_FIELDS)}
        return made if self.cache is None else {**made, "cache": self.cache}

    @classmethod
    def match(cls, value: object) -> StoreKey | None:
        """Return the key that a JSON value is, or None when it is something else."""
        if not isinstance(value, Mapping) or value.get("executor") != EXECUTOR_NAME:
            return None
        if value.keys() != _FIELDS and value.keys() != _FIELDS | {"cache"}:
            return None
        return cls(**value) if all(isinstance(each, str) for each in value.values()) else None


_FIELDS: Final = {"executor", "handle", "job_id", "session_id"}


class Store:
    """Var values by key. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, dict[StoreKey, Any]] = {}

    def put(self, key: StoreKey, value: object) -> None:
        """Keep a value; a handle that is sent again keeps the last one."""
        with self._lock:
            self._sessions.setdefault(key.session_id, {})[key] = value

    def get(self, key: StoreKey) -> Any:
        """Return a value. Raises ``LocalProtocolError`` when it isn't here."""
        with self._lock:
            try:
                return self._sessions[key.session_id][key]
            except KeyError:
                raise LocalProtocolError(
                    f"the var value of handle {key.handle!r} of job {key.job_id} isn't in this process: a var value "
                    "lives as long as the executor process that made it, and until its session ends"
                ) from None

    def drop_session(self, session_id: str) -> None:
        """Let go of a session's values."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._sessions.values()))
