"""Results that are kept, read again: what the var values were that the jobs of a session have put out."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...store import StoreKey
from .digests import NoDigest
from .results import Results, read_frames

__all__ = ["KeptValues", "lay_beside"]


class KeptValues:
    """Var values of jobs whose results the cache has, by the keys that stand for them. Its methods read files."""

    def __init__(self) -> None:
        self._places: dict[StoreKey, tuple[Path, int, int]] = {}
        """The file of each, where in it the pickle begins, and its bytes."""

    def take(self, results: Results, name: str, session_id: str, began: int, keys: Sequence[StoreKey]) -> Path | None:
        """Look for the result of a job, which put out the values of these keys; return its file.

        None where there is none, or it is another one: made by another session after the job began (in ms since the
        epoch), when what the job itself put out may have been another value.
        """
        file = results.open(name)
        if file is None:
            return None
        path = results.directory / name
        places: list[tuple[Path, int, int]] = []
        maker = at = None
        with file:
            for frame in read_frames(file):
                maker = frame.head.get("about", {}).get("session_id", maker)
                at = frame.head.get("at", at)
                begin = file.tell() - sum(map(len, frame.parts))
                for (_, kind), part in zip(frame.head.get("values", ()), frame.parts, strict=False):
                    if kind == "var":
                        places.append((path, begin, len(part)))
                    begin += len(part)
        if len(places) != len(keys) or (maker != session_id and (at is None or at > began)):
            return None
        self._places.update(zip(keys, places, strict=True))
        return path

    def __contains__(self, key: StoreKey) -> bool:
        return key in self._places

    def value(self, key: StoreKey) -> Any:
        """Return the value that a key stands for. Raises ``NoDigest`` where it can't be had here."""
        path, begin, size = self._places[key]
        try:
            with open(path, "rb") as file:
                file.seek(begin)
                return pickle.loads(file.read(size))
        except Exception as error:  # whatever unpickling the author's values raises
            raise NoDigest(f"its input can't be read from the cache ({type(error).__name__}: {error})") from error


def lay_beside(path: Path, results: Results, name: str) -> None:
    """Put the file of a result among other results, too."""
    target = results.directory / name
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, target)
