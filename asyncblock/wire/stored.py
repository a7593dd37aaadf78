"""StoreKey: what stands for a value that stays in its executor's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["EXECUTOR_NAME", "StoreKey"]

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
    portable: int | None = field(default=None, compare=False)
    """About how many bytes move when another process of its host takes it; None for one that can't be had there."""
    stays: str | None = field(default=None, compare=False)
    """Why it can't."""
    file: str | None = field(default=None, compare=False)
    """The name of the file, on its executor's host, that it is in from the start."""

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
        fits = all(type(each) is (int if name in _NUMBERS else str) for name, each in value.items())
        return cls(**value) if fits else None


_FIELDS: Final = {"executor", "handle", "job_id", "session_id"}
_ORDER: Final = {"attempt", "place"}
_KEPT: Final = {"cache", "portable", "stays", "file"}
_NUMBERS: Final = {"attempt", "place", "portable"}
