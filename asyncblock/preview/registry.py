"""Which converter shows a value: those that users registered, the latest first, then the built-in ones.

A kind is looked up without importing anything: a name counts only if the value's own module brought it in.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import LocalProtocolError
from ..runtime.forks import fresh_lock
from .limits import Limits

__all__ = ["Converter", "Kind", "Take", "find", "register", "register_builtin"]

logger = logging.getLogger("asyncblock.preview")

Kind = type | str | Callable[[Any], bool]
Converter = Callable[[Any, Limits], object]
Take = Callable[[Any, Limits], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One registered kind of value."""

    kind: Kind
    converter: Converter
    take: Take | None = None
    is_final: bool = False
    """Whether a payload that its converter returns is ready; what a user's returns is looked at."""

    def matches(self, value: object) -> bool:
        kind = self.kind
        if isinstance(kind, type):
            return isinstance(value, kind)
        if isinstance(kind, str):
            return _is_named(value, kind)
        try:
            return bool(kind(value))
        except Exception:  # a user's predicate that was written for other values
            logger.debug("a predicate of preview.register raised", exc_info=True)
            return False


_lock = fresh_lock()
_users: list[Entry] = []
_builtin: list[Entry] = []


def register(kind: Kind, converter: Converter, *, take: Take | None = None) -> Callable[[], None]:
    """Show values of a kind by a converter of yours. Returns a function that takes the entry away again.

    ``kind`` is a type, a name such as ``"module.Class"`` (also of a base class; nothing is imported for it), or a
    predicate; one that raises doesn't match. ``converter(value, limits)`` runs on a worker thread and returns
    ``{"type", "data"}``, or another value that can be shown. ``take(value, limits)`` runs at the call, on the block's
    loop, and returns what is converted: for values that change later; it has to be quick. The latest entry that
    matches is chosen, before the built-in ones. Raises ``LocalProtocolError`` for a kind or a converter of the wrong
    type.
    """
    if not (isinstance(kind, type) or callable(kind) or (isinstance(kind, str) and "." in kind)):
        raise LocalProtocolError(f"a kind is a type, a name like 'module.Class' or a predicate, not {kind!r}")
    if not callable(converter) or not (take is None or callable(take)):
        raise LocalProtocolError("a converter is a function of a value and its limits, and so is 'take'")
    entry = Entry(kind, converter, take)
    with _lock:
        _users.insert(0, entry)

    def unregister() -> None:
        with _lock:
            if entry in _users:
                _users.remove(entry)

    return unregister


def register_builtin(kind: Kind, converter: Converter, *, take: Take | None = None, first: bool = False) -> None:
    """Add a converter of ours, behind those that are there, or in front of them."""
    _builtin.insert(0 if first else len(_builtin), Entry(kind, converter, take, is_final=True))


def find(value: object) -> Entry | None:
    """Return the entry for a value."""
    with _lock:
        users = list(_users)
    return next((entry for entry in (*users, *_builtin) if entry.matches(value)), None)


def _is_named(value: object, name: str) -> bool:
    if any(f"{each.__module__}.{each.__qualname__}" == name for each in type(value).__mro__):
        return True
    # Many classes are known under a shorter name than the one of the module that they live in. Read from the
    # namespace: a module's own ``__getattr__`` might import.
    module, _, attribute = name.rpartition(".")
    known = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    return isinstance(known, type) and isinstance(value, known)
