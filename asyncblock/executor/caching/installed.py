"""Versions of what a block imports from outside of its package: of distributions their own, of other code a digest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Final

from ..._version import installed_version
from ...blockcode.identity import module_digest
from ...blockcode.packages import package_hash

__all__ = ["versions"]

_OURS: Final = (__name__.partition(".")[0], "blocks_of")

_lock = threading.Lock()
_distributions: dict[str, list[str]] | None = None
_known: dict[str, str] = {}
"""Of modules that are installed: they stay as they are while this process has them."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return what says which version of each top-level module is here. Reads files, and imports none of them."""
    return {name: _known.get(name) or _version(name) for name in sorted(names)}


def changed_since(names: Iterable[str], moment: float) -> str | None:
    """Return the first of these modules whose files were written after a moment (s since the epoch); None if none was.

    Installing writes files anew, whatever their times say that an archive had.
    """
    for name in sorted(set(names) - set(_OURS)):
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            # Not there any more, or made at run time without a spec: no file could have been written.
            continue
        places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or ())]
        for place in filter(os.path.isabs, places):
            try:
                # The time of the change, which nobody can set: pip gives files the times that the archive had.
                if os.stat(place).st_ctime > moment:
                    return name
            except OSError:
                continue
    return None


def _version(name: str) -> str:
    if name in _OURS:
        return installed_version()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        # A module that the running program has made.
        spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        return "missing"
    if spec.origin in ("built-in", "frozen"):
        return sys.version.partition(" ")[0]
    places = [Path(spec.origin)] if spec.origin else [Path(each) for each in spec.submodule_search_locations or ()]
    if not all(map(_is_installed, places)):
        # Beside the program, on PYTHONPATH, or installed to be edited: its version says nothing.
        return _of_sources(name, spec, places)
    found = [f"{each}=={importlib.metadata.version(each)}" for each in sorted(set(_owners(name)))]
    version = ",".join(found) or _of_sources(name, spec, places)
    with _lock:
        _known[name] = version
    return version


def _owners(name: str) -> list[str]:
    global _distributions
    with _lock:
        if _distributions is None:
            _distributions = dict(importlib.metadata.packages_distributions())
        return _distributions.get(name, [])


def _is_installed(place: Path) -> bool:
    known = [sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib", "platstdlib")]
    return any(place.is_relative_to(each) for each in (*known, *site.getsitepackages(), site.getusersitepackages()))


def _of_sources(name: str, spec: ModuleSpec, places: list[Path]) -> str:
    digest = hashlib.sha256()
    for place in places:
        directory = place if place.is_dir() else place.parent if place.name == "__init__.py" else None
        if directory is not None:
            digest.update(package_hash(directory).encode())
        else:
            digest.update((module_digest(name, place) or "unread").encode())
    return f"sources {digest.hexdigest()[:32]}"
