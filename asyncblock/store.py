"""The store: var values, kept in the process that made them until their session ends. They are lost with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import Closed, LocalProtocolError
from .forks import fresh_lock, generation

__all__ = ["EXECUTOR_NAME", "Store", "StoreKey"]

EXECUTOR_NAME: Final = "asyncblock"


@dataclass(frozen=True, slots=True)
class StoreKey:
    """What travels in place of a var value: who holds it, and the one output that it is."""

    executor: str
    handle: str
    job_id: str
    session_id: str
    attempt: int | None = None
    """The attempt of the job; None in what earlier versions have sent, which named a handle's last value."""
    place: int | None = None
    """Which of the attempt's var values it is, in the order of the calls, from 0."""
    cache: str | None = field(default=None, compare=False)
    """The name under which the value is kept beyond its process, if it is."""

    def to_json(self) -> dict[str, str | int]:
        """Return what travels."""
        named = ((name, getattr(self, name)) for name in sorted(_FIELDS | _ORDER | _KEPT))
        return {name: value for name, value in named if value is not None}

    @classmethod
    def match(cls, value: object) -> StoreKey | None:
        """Return the key that a JSON value is, or None when it is something else."""
        if not isinstance(value, Mapping) or value.get("executor") != EXECUTOR_NAME:
            return None
        names = value.keys() - _KEPT
        if names != _FIELDS and names != _FIELDS | _ORDER:
            return None
        fits = all(type(each) is (int if name in _ORDER else str) for name, each in value.items())
        return cls(**value) if fits else None


_FIELDS: Final = {"executor", "handle", "job_id", "session_id"}
_ORDER: Final = {"attempt", "place"}
_KEPT: Final = {"cache"}


class Store:
    """Var values by key. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = fresh_lock()
        self._born = generation()
        self._sessions: dict[str, dict[StoreKey, Any]] = {}

    def put(self, key: StoreKey, value: object) -> None:
        """Keep a value. Raises ``Closed`` in a forked process."""
        if generation() != self._born:
            raise Closed("a var value lives in the executor's process; return it to the block, and send it there")
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

    def own(self, value: object, session_id: str) -> object:
        """Return what a value is: for the key of a value of the session, as events show it, that value."""
        key = StoreKey.match(value) if type(value) is dict else None
        if key is None or key.session_id != session_id:
            return value
        with self._lock:
            return self._sessions.get(session_id, {}).get(key, value)

    def drop_session(self, session_id: str) -> None:
        """Let go of a session's values."""
        with self._lock:
            self._sessions.pop(session_id, None)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._sessions.values()))
