"""Block packages on disk: where a package's root is, what it is called, and the hash that says which one it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import Unavailable

__all__ = ["package_hash", "package_name", "package_root"]

PACKAGE_FILES = ("package.oo.yaml", "package.oo.yml")
_LAYOUT = ("flows", "subflows", "slotflows", "blocks", "tasks", "services")
"""Directories that a package root holds; a block or flow in one of them belongs to the directory above."""

_MAX_MANIFEST = 1 << 20
"""Bytes of a ``package.oo.yaml`` that are looked at for the name."""

_DATA_FILES = frozenset({"journal.db", "lock"})
"""What a mainframe's data directory holds. One that stands in a package changes while its blocks run."""

_PIECE = 1 << 20

_MAX_PACKAGE = 256 << 20
"""Bytes that a package may hold: its files are read at every start to make the hash."""


def package_root(path: Path) -> Path:
    """Return the root of the package that a flow or block directory belongs to.

    The nearest directory upwards that has a ``package.oo.yaml``; else the one above the layout's directories; else
    the directory itself.
    """
    path = path.resolve()
    for directory in (path, *path.parents):
        if any((directory / name).is_file() for name in PACKAGE_FILES):
            return directory
    if path.parent.name in _LAYOUT:
        return path.parent.parent
    return path


def package_name(root: Path) -> str:
    """Return what people call a package: the name in its ``package.oo.yaml``, or its directory's."""
    for name in PACKAGE_FILES:
        try:
            with (root / name).open("rb") as file:
                text = file.read(_MAX_MANIFEST).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == "name" and value.strip():
                return value.strip().strip("'\"")
    return root.name


def package_hash(root: Path) -> str:
    """Return the sha256 over the relative paths and contents of a package's files.

    Hidden files, ``__pycache__``, compiled files and a mainframe's data directory don't count. Raises ``Unavailable``
    for a package of more than 256 MiB, or one that can't be read.
    """
    digest = hashlib.sha256()
    total = 0
    try:
        for path in _files(root):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                total += size
                if total > _MAX_PACKAGE:
                    raise Unavailable(f"package {root} holds more than {_MAX_PACKAGE} bytes; keep data out of it")
                name = path.relative_to(root).as_posix().encode()
                digest.update(b"%d:%b:%d:" % (len(name), name, size))
                while piece := file.read(_PIECE):
                    digest.update(piece)
    except OSError as error:
        raise Unavailable(f"package {root} can't be read: {error.strerror} ({error.filename})") from error
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(root):
        if _DATA_FILES.issubset(files):
            names.clear()
            continue
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "__pycache__")
        for file in sorted(files):
            if not file.startswith(".") and not file.endswith((".pyc", ".pyo")):
                yield Path(directory, file)
