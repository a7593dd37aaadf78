"""Places: the directories that jobs may use and what their nodes keep. Nothing is made before somebody asks for it.

Under the user's cache directory: one directory for each session, and one for what a flow makes on the way, which goes
when a later session of that flow has succeeded. Under the user's data directory: one for each package, for ever.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

from ..forks import fresh_lock

__all__ = ["Places"]

_DONE = ".done"
"""Ends the name of the file that marks a session whose jobs all went well."""


class Places:
    """What an executor's jobs share by session, flow, package and node. Its methods may be called from any thread.

    ``ASYNCBLOCK_SESSION_DIR``, ``ASYNCBLOCK_TMP_DIR``, ``ASYNCBLOCK_PKG_DATA_DIR``, ``ASYNCBLOCK_VALUES_DIR`` and
    ``ASYNCBLOCK_CACHE_DIR`` put other directories in the place of the user's. Under the ``oocana`` engine its own
    directories are used, as they are: ``ASYNCBLOCK_ENGINE_SESSION_DIR``, ``ASYNCBLOCK_ENGINE_TMP_DIR``, and
    ``OOCANA_PKG_DIR``.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._lock = fresh_lock()
        self._made: dict[str, set[Path]] = {}
        """Temporary directories by session."""
        self._troubled: set[str] = set()
        self._stores: dict[tuple[str, str, str], dict[str, Any]] = {}

    def session_dir(self, session_id: str) -> Path:
        """Return the directory that all jobs of a session share; it stays after the end."""
        if given := self._environ.get("ASYNCBLOCK_ENGINE_SESSION_DIR"):
            return _made(Path(given))
        return _made(self._base("ASYNCBLOCK_SESSION_DIR", "XDG_CACHE_HOME", ".cache", "sessions") / _safe(session_id))

    def tmp_dir(self, session_id: str, flow: str | None) -> Path:
        """Return the directory that the jobs of a flow share in a session."""
        if given := self._environ.get("ASYNCBLOCK_ENGINE_TMP_DIR"):
            return _made(Path(given))
        base = self._base("ASYNCBLOCK_TMP_DIR", "XDG_CACHE_HOME", ".cache", "tmp")
        path = base / _flow_name(flow) / _safe(session_id)
        with self._lock:
            self._made.setdefault(session_id, set()).add(path)
        return _made(path)

    def package_tmp_dir(self, session_id: str, flow: str | None, package: str) -> Path:
        """Return a package's directory in ``tmp_dir``."""
        return _made(self.tmp_dir(session_id, flow) / _safe(package))

    def package_data_dir(self, package: str) -> Path:
        """Return the directory that all versions of a package share, for ever."""
        if "ASYNCBLOCK_ENGINE_TMP_DIR" in self._environ and (given := self._environ.get("OOCANA_PKG_DIR")):
            return _made(Path(given))
        base = self._base("ASYNCBLOCK_PKG_DATA_DIR", "XDG_DATA_HOME", ".local/share", "packages")
        return _made(base / _safe(package))

    def values_dir(self) -> Path:
        """Return the directory of values that are kept for later runs."""
        return _made(self._base("ASYNCBLOCK_VALUES_DIR", "XDG_CACHE_HOME", ".cache", "values"))

    def results_dir(self) -> Path:
        """Return the directory of the cache: results that blocks needn't make again."""
        return _made(self._base("ASYNCBLOCK_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "results"))

    def node_store(self, session_id: str, flow_job_id: str, node_id: str) -> dict[str, Any]:
        """Return what the jobs of one node keep for each other, until their session ends."""
        with self._lock:
            return self._stores.setdefault((session_id, flow_job_id, node_id), {})

    def job_failed(self, session_id: str) -> None:
        """Take note that somebody may want to look at a session's temporary directories."""
        with self._lock:
            self._troubled.add(session_id)

    def end_session(self, session_id: str) -> list[Path]:
        """Let go of a session; return its temporary directories if it went well, for ``tidy``."""
        with self._lock:
            for key in [key for key in self._stores if key[0] == session_id]:
                del self._stores[key]
            made = self._made.pop(session_id, set())
            fine = session_id not in self._troubled
            self._troubled.discard(session_id)
        return sorted(made) if fine else []

    @staticmethod
    def tidy(directories: Iterable[Path]) -> None:
        """Mark the directories of a session that went well, and remove those of earlier such sessions of its flows."""
        for path in directories:
            for mark in path.parent.glob(f"*{_DONE}"):
                shutil.rmtree(mark.with_suffix(""), ignore_errors=True)
                mark.unlink(missing_ok=True)
            if path.is_dir():
                path.with_name(path.name + _DONE).touch()

    def _base(self, override: str, xdg: str, fallback: str, name: str) -> Path:
        given = self._environ.get(override)
        if given:
            return Path(given).absolute()
        home = self._environ.get(xdg, "")
        # The XDG specification tells to ignore relative paths.
        root = Path(home) if PurePath(home).is_absolute() else Path.home() / fallback
        return root / "asyncblock" / name


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _flow_name(flow: str | None) -> str:
    if flow is None:
        return "code"
    return f"{_safe(PurePath(flow).parent.name or 'flow')}-{hashlib.sha256(flow.encode()).hexdigest()[:8]}"


def _safe(name: str) -> str:
    """Make one component of a path of a name that came from outside."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:100]
    if plain == name:
        return name
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
