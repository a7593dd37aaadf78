"""The directories that jobs may use and what their nodes keep. Nothing is made before it is asked for.

Under the user's cache directory: one directory for each session, and one for what a flow makes on the way, which goes
when a later session of that flow has succeeded. That of a session which hasn't stays for a week, to be looked at; so
does that of one whose process was killed, from the time when a later process finds that nobody uses it. Under the
user's data directory: one for each package, for ever.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from ..runtime.forks import claim, fresh_lock

__all__ = ["JobDirectories"]

_DONE = ".done"
"""Ends the name of the file that marks a session in which all jobs went well."""

_FAILED: Final = ".failed"
"""Ends the name of the file that marks one with failed jobs or dead processes; its age says since when."""

_LOOKED_AT: Final = 7 * 86400.0
"""Seconds that the temporary directories of such a session stay: they can be looked at after a weekend."""

_HELD: Final = 64
"""Directories that a process holds a lock on. Those beyond take no descriptor; that they stay for a week suffices."""


class EndedDirectories(NamedTuple):
    """What ``JobDirectories.tidy`` needs to know of a session."""

    directories: list[Path]
    """Its temporary directories."""
    fine: bool
    """All of its jobs went well."""


class JobDirectories:
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
        self._held: dict[Path, int] = {}
        """Descriptors with locks on them, by which others see that they are used."""
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
            if path in self._held:
                return _made(path)
        fd = _locked(path)
        with self._lock:
            if fd is not None and path not in self._held and len(self._held) < _HELD:
                self._held[path], fd = fd, None
        if fd is not None:
            os.close(fd)
        return path

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

    def end_session(self, session_id: str) -> EndedDirectories:
        """Let go of a session; return what ``tidy`` needs to know."""
        with self._lock:
            for key in [key for key in self._stores if key[0] == session_id]:
                del self._stores[key]
            made = self._made.pop(session_id, set())
            fine = session_id not in self._troubled
            self._troubled.discard(session_id)
        return EndedDirectories(sorted(made), fine)

    def tidy(self, ended: EndedDirectories) -> None:
        """Mark the directories of a session that has ended, and remove those that aren't worth keeping.

        If it went well, those of earlier such sessions of its flows; in any case those of sessions that failed, or
        whose process was killed, long enough ago. Raises ``OSError`` as the disk says.
        """
        for path in ended.directories:
            if ended.fine:
                for mark in path.parent.glob(f"*{_DONE}"):
                    # What went well in one process may have failed in another.
                    if not mark.with_suffix(_FAILED).exists():
                        _remove(mark.with_suffix(""))
            if path.is_dir():
                _mark(path, _DONE if ended.fine else _FAILED).touch()
        self._let_go(ended.directories)
        for base in {path.parent.parent for path in ended.directories}:
            for flow in base.iterdir():
                _sweep(flow)

    def _let_go(self, directories: list[Path]) -> None:
        with self._lock:
            held = [self._held.pop(path) for path in directories if path in self._held]
        for fd in held:
            os.close(fd)

    def close(self) -> None:
        """Let go of what is held for sessions that haven't ended: their next process holds it."""
        with self._lock:
            directories = list(self._held)
        self._let_go(directories)

    def _base(self, override: str, xdg: str, fallback: str, name: str) -> Path:
        given = self._environ.get(override)
        if given:
            return Path(given).absolute()
        home = self._environ.get(xdg, "")
        # The XDG specification tells to ignore relative paths.
        root = Path(home) if PurePath(home).is_absolute() else Path.home() / fallback
        return root / "asyncblock" / name


def _mark(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _locked(path: Path) -> int | None:
    """Make a directory and open it with a lock that says it is used; None where that can't be."""
    while True:
        _made(path)
        with suppress(FileNotFoundError):
            fd = _opened(path)
            # A child that is forked meanwhile mustn't hold the lock longer than we do.
            claim(fd)
            with suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_SH)
            if path.is_dir() and os.path.samestat(path.stat(), os.fstat(fd)):
                # Of a session that goes on, after a process of its had gone.
                _mark(path, _FAILED).unlink(missing_ok=True)
                return fd
            # Another process removed it between its creation and its lock.
            os.close(fd)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


@contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Tell whether no process holds a directory, and keep it so for the duration of the block."""
    fd = _opened(path)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # In use; or a file system without locks, where that can't be told.
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _sweep(flow: Path) -> None:
    """Remove old directories of a flow's sessions that failed, or that ended because their process was killed."""
    if flow.is_symlink() or not flow.is_dir():
        return
    for path in flow.iterdir():
        if path.is_symlink() or not path.is_dir():
            continue
        # Two executors may sweep at once; whichever comes second finds less.
        with suppress(FileNotFoundError), _unused(path) as unused:
            mark = _mark(path, _FAILED)
            if unused and mark.exists():
                if time.time() - mark.stat().st_mtime > _LOOKED_AT:
                    _remove(path)
            elif unused and not _mark(path, _DONE).exists():
                mark.touch()


def _remove(path: Path) -> None:
    """Remove a directory, and what marks it."""
    shutil.rmtree(path, ignore_errors=True)
    for ending in (_DONE, _FAILED):
        _mark(path, ending).unlink(missing_ok=True)


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
