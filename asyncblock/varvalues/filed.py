"""What a store keeps of a value that is only in a file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from .valueid import ValueId

__all__ = ["Filed", "ValueFiles", "loaded"]


class ValueFiles(Protocol):
    """What a filed value asks of the depot that its file is in."""

    owner: str

    def used(self) -> AbstractContextManager[object]:
        """Keep the directories open while a thread works in them."""
        ...

    def load(self, name: str, id: ValueId) -> Any:
        """Return the value of a file."""
        ...

    def remove(self, ids: Iterable[ValueId], letters: str = "md") -> None:
        """Remove the files of values."""
        ...


class Filed:
    """A value that is only in a file: it had no room in memory, or was made in the file. Each load maps it anew."""

    def __init__(self, depot: ValueFiles, id: ValueId, name: str, length: int) -> None:
        self._depot = depot
        self._id = id
        self.name = name
        """The file's name."""
        self.length = length
        """The file's bytes."""

    @property
    def in_memory(self) -> bool:
        """Whether its file is in memory."""
        return self.name.startswith("m")

    def load(self) -> Any:
        """Return the value as it was put out; what is written into it is the caller's own. Opens a file."""
        return self._depot.load(self.name, self._id)

    def remove(self) -> None:
        """Remove the file, before any other process is told of it."""
        self._depot.remove([self._id])


def loaded(value: object) -> Any:
    """Return a kept value itself, loaded from its file if it is only there."""
    return value.load() if isinstance(value, Filed) else value
