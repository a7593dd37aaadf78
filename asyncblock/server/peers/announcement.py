"""What an executor announces, checked field by field: a slip in it is said, not passed over in silence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import RemoteProtocolError
from ...resources import LABELS, NOTHING, Resources, needs_problem
from ..serverlimits import MAX_ACCEPTED, MAX_LANGUAGES, MAX_PACKAGES, MAX_SLOTS, MAX_WORDS
from .access import hash_token

__all__ = ["ExecutorInfo"]

_MAX_NAME = 200
"""Characters of a language or of a package's hash."""

_LEAST_HOST = 16
"""Characters that a text needs at least so that it can't be guessed."""

_MAX_OPS = 100
"""Names of messages that are read."""


@dataclass(frozen=True, slots=True)
class ExecutorInfo:
    """What an executor announced."""

    languages: frozenset[str]
    packages: dict[str, str]
    """Names by hash."""
    slots: int
    """Async jobs at once."""
    sync_slots: int
    """Jobs in threads at once."""
    spawn_slots: int = 0
    """How many processes of their own it starts for blocks with ``spawn: true``."""
    once: bool = False
    """It is such a process: it takes the one job that it was started for."""
    understands: frozenset[str] = frozenset()
    """Which of the messages that not every executor knows may be sent to it."""
    accepts: tuple[str, ...] = ()
    """How versions begin that it doesn't have, and runs what it has of the same package for."""
    host: str | None = None
    """Proves, by being the same, that another executor can open the files of var values that this one writes. A hash:
    the journal names it, and every observer reads that."""
    disk: str | None = None
    """Proves the same of files on a disk, which stay when whoever has written them has left. A hash, too."""
    offers: Resources = NOTHING
    """What the jobs that it runs may take of it, and its labels."""
    pool: str | None = None
    """Executors that say the same have what they offer together."""

    def accepts_instead(self, version: str, package: str) -> bool:
        """Tell whether it runs another version of a package instead of this one."""
        return bool(self.accepts) and version.startswith(self.accepts) and package in self.packages.values()

    @classmethod
    def from_json(cls, obj: dict[str, Any] | None) -> ExecutorInfo | None:
        """Read an announcement; None for a link that runs no blocks. ``RemoteProtocolError`` names the wrong field."""
        if obj is None:
            return None
        languages = _field(obj, "languages", list, "a list of names")
        packages = _field(obj, "packages", dict, "an object of names by hash")
        slots = _field(obj, "slots", dict, "an object of numbers")
        if len(languages) > MAX_LANGUAGES or not all(_is_name(each, _MAX_NAME) for each in languages):
            raise _wrong("languages", f"up to {MAX_LANGUAGES} names of 1 to {_MAX_NAME} characters", languages)
        if len(packages) > MAX_PACKAGES:
            raise _wrong("packages", f"of {MAX_PACKAGES} packages at most", len(packages))
        for hash, name in packages.items():
            if not _is_name(hash, _MAX_NAME) or not _is_name(name, MAX_WORDS):
                raise _wrong("packages", "an object of names by hash", {hash: name})
        accepts = obj.get("accepts", [])
        if type(accepts) is not list or len(accepts) > MAX_ACCEPTED or not all(map(_is_prefix, accepts)):
            raise _wrong("accepts", f"up to {MAX_ACCEPTED} beginnings of versions", accepts)
        if "async" not in slots:
            raise RemoteProtocolError("an announcement's 'executor' lacks 'slots.async', how many jobs it runs at once")
        total = _slots(slots, "async", 0)
        once = obj.get("once", False)
        if type(once) is not bool:
            raise _wrong("once", "true or false", once)
        host, disk, pool = (_proof(obj, name) for name in ("host", "disk", "pool"))
        understands = obj.get("understands", [])
        if type(understands) is not list or not all(_is_name(each, _MAX_NAME) for each in understands[:_MAX_OPS]):
            raise _wrong("understands", "a list of names of messages", understands)
        return cls(
            frozenset(languages),
            packages,
            total,
            _slots(slots, "sync", total),
            _slots(slots, "spawn", 0),
            once,
            frozenset(understands[:_MAX_OPS]),
            tuple(accepts),
            host,
            disk,
            _offers(obj),
            pool,
        )


def _proof(obj: dict[str, Any], name: str) -> str | None:
    """Return the hash of what only those know who have something in common; None where nothing is said."""
    said = obj.get(name)
    if said is None:
        return None
    if not (_is_name(said, _MAX_NAME) and len(said) >= _LEAST_HOST):
        words = f"a text of {_LEAST_HOST} to {_MAX_NAME} characters that nobody can guess"
        raise RemoteProtocolError(f"an announcement's 'executor.{name}' must be {words}")
    return hash_token(said)


def _field(obj: dict[str, Any], name: str, kind: type, words: str) -> Any:
    if name not in obj:
        raise RemoteProtocolError(f"an announcement's 'executor' lacks {name!r}, {words}")
    if type(obj[name]) is not kind:
        raise _wrong(name, words, obj[name])
    return obj[name]


def _offers(obj: dict[str, Any]) -> Resources:
    offers, labels = obj.get("offers", {}), obj.get("labels", [])
    if type(offers) is not dict or LABELS in offers or not all(type(each) in (int, float) for each in offers.values()):
        raise _wrong("offers", "an object of numbers by name", offers)
    if type(labels) is not list:
        raise _wrong("labels", "a list of names", labels)
    found = {**{name: each for name, each in offers.items() if each != 0}, LABELS: labels}
    if (problem := needs_problem(found, "offers")) is not None:
        raise RemoteProtocolError(f"an announcement's 'executor': {problem}")
    return Resources.of(found)


def _slots(slots: dict[str, Any], name: str, default: int) -> int:
    value = slots.get(name, default)
    if type(value) is not int or not 0 <= value <= MAX_SLOTS:
        raise _wrong(f"slots.{name}", f"a whole number from 0 to {MAX_SLOTS}", value)
    return value


def _is_name(value: object, longest: int) -> bool:
    return type(value) is str and 0 < len(value) <= longest


def _is_prefix(value: object) -> bool:
    return type(value) is str and len(value) <= _MAX_NAME


def _wrong(name: str, words: str, value: object) -> RemoteProtocolError:
    return RemoteProtocolError(f"an announcement's 'executor.{name}' must be {words}; it is {value!r:.80}")
