"""Where the code of the engine's jobs is: directories that the engine names, as packages that executors announce."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..blockcode.packages import package_root

__all__ = ["BlockPlace", "digest_of", "place_of"]


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """A block's function, in its package."""

    root: Path
    digest: str
    dir: str
    entry: str
    function: str


def digest_of(root: Path) -> str:
    """Return what a package is announced by. Not by its code: the engine's word is for a directory, as it is."""
    return hashlib.sha256(os.fsencode(root)).hexdigest()


def place_of(directory: str, options: Mapping[str, Any], package: Path | None) -> BlockPlace:
    """Return where a block is. Reads file names; call it on a worker thread.

    Its package is the one that the executor was started for, if the block is in it; else the nearest one around it.
    Raises ``ValueError`` for what can be no file.
    """
    named = str(options.get("entry") or "index.py")
    if "\0" in directory + named:
        raise ValueError("the name of its file has a NUL in it")
    dir = Path(directory).resolve()
    entry = Path(os.path.normpath(dir / named))
    root = package if package is not None and _holds(package, dir, entry) else package_root(dir)
    if root is None or not _holds(root, dir, entry):
        root = Path(os.path.commonpath([dir, entry.parent]))
    return BlockPlace(
        root=root,
        digest=digest_of(root),
        dir=os.path.relpath(dir, root),
        entry=os.path.relpath(entry, root),
        function=str(options.get("function") or "main"),
    )


def _holds(root: Path, *paths: Path) -> bool:
    return all(path.is_relative_to(root) for path in paths)
