"""Finds the function behind a block: in a file of a block package, or in an importable Python module.

``imports`` decides how a file becomes a module. ``Loader`` decides which edition of a package a session sees: the one
that it began with. A session that begins after a file was changed gets the whole package imported anew.
"""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import LocalProtocolError
from .imports import Edition

__all__ = ["Loader", "load_object"]

_MAX_NAMED = 10
"""Files or functions that an error lists."""


class Loader:
    """Loads the functions of block packages. One for each executor; its methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packages: dict[Path, _Package] = {}

    def load(
        self, root: Path, entry: str, function: str, *, session_id: str, dir: str | None = None
    ) -> Callable[..., object]:
        """Return a function of a file of a package, imported at most once for a session. Runs the file in this thread.

        ``entry`` is relative to ``root``, the package's directory; ``dir`` is the block's, and only said in errors.
        Raises what the file raises, a ``SyntaxError`` too, and again at each further call; ``LocalProtocolError`` when
        there is no such file or function.
        """
        root = root.resolve()
        block = f"block {dir!r}: " if dir not in (None, "", ".") else ""
        path = _entry_path(root, entry, block)
        edition = self._package(root).edition_for(session_id)
        with edition.lock:
            module = _import_entry(edition, path, f"{block}{entry!r}")
        found = _attribute(module, function, f"{block}{entry!r}")
        if not callable(found):
            raise LocalProtocolError(
                f"{block}{function!r} in {entry!r} is of type {type(found).__name__}, not a function"
            )
        return found

    def is_outdated(self, root: Path) -> bool:
        """Tell whether files of a package were loaded and have been edited since."""
        with self._lock:
            package = self._packages.get(root.resolve())
        return package is not None and package.is_outdated()

    def would_replace(self, root: Path, session_id: str) -> bool:
        """Tell whether a load for a session would read files anew that were loaded here and have been edited since."""
        with self._lock:
            package = self._packages.get(root.resolve())
        return package is not None and not package.knows(session_id) and package.is_outdated()

    def end_session(self, session_id: str) -> None:
        """Let go of the modules that only this session still used."""
        for package in self._all():
            package.end_session(session_id)

    def close(self) -> None:
        """Let go of all modules."""
        for package in self._all():
            package.close()

    def _package(self, root: Path) -> _Package:
        with self._lock:
            return self._packages.setdefault(root, _Package(root))

    def _all(self) -> list[_Package]:
        with self._lock:
            return list(self._packages.values())


class _Package:
    """The editions of one package: the current one, and those that sessions began with."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._current: Edition | None = None
        self._by_session: dict[str, Edition] = {}

    def edition_for(self, session_id: str) -> Edition:
        with self._lock:
            edition = self._by_session.get(session_id)
            if edition is None:
                edition = self._by_session[session_id] = self._fresh()
            return edition

    def knows(self, session_id: str) -> bool:
        with self._lock:
            return session_id in self._by_session

    def is_outdated(self) -> bool:
        with self._lock:
            return self._current is not None and not self._current.is_fresh()

    def _fresh(self) -> Edition:
        old = self._current
        if old is not None and old.is_fresh():
            return old
        # First, for the new one has its name then.
        self._current = None
        self._retire(old)
        self._current = Edition.of(self._root)
        return self._current

    def end_session(self, session_id: str) -> None:
        with self._lock:
            self._retire(self._by_session.pop(session_id, None))

    def close(self) -> None:
        with self._lock:
            editions = {self._current, *self._by_session.values()}
            self._current = None
            self._by_session.clear()
            for edition in editions:
                self._retire(edition)

    def _retire(self, edition: Edition | None) -> None:
        if edition is not None and edition is not self._current and edition not in self._by_session.values():
            edition.retire()


def load_object(module: str, qualname: str) -> Any:
    """Return an object of an importable Python module, such as a function or ``Class.method``.

    Raises what the module raises when it is imported; ``LocalProtocolError`` when there is no such module or object.
    """
    if not module or module.startswith("."):
        raise LocalProtocolError(f"{module!r} is no absolute module name")
    if "<locals>" in qualname:
        raise LocalProtocolError(
            f"{qualname!r} of module {module!r} is made inside a function; move it to the top level"
        )
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise LocalProtocolError(f"no module {module!r} can be imported: {error}") from None
    return _attribute(found, qualname, f"module {module!r}")


def _entry_path(root: Path, entry: str, block: str) -> Path:
    try:
        path = (root / entry).resolve()
        is_there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise LocalProtocolError(f"{block}entry {entry!r} is no path: {error}") from None
    if Path(entry).is_absolute():
        raise LocalProtocolError(
            f"{block}entry {entry!r} is absolute; it must be relative to the package {root.name!r}"
        )
    if not path.is_relative_to(root):
        raise LocalProtocolError(f"{block}entry {entry!r} leads out of the package {root.name!r} ({root})")
    if path.suffix != ".py":
        raise LocalProtocolError(f"{block}entry {entry!r} is no Python file; its name must end with .py")
    if not is_there:
        raise LocalProtocolError(f"{block}{_missing_file(root, entry, path)}")
    return path


def _missing_file(root: Path, entry: str, path: Path) -> str:
    words = f"entry {entry!r} isn't in the package {root.name!r} ({root})"
    directory = path.parent
    if not directory.is_dir():
        return f"{words}; there is no directory {str(directory.relative_to(root))!r}"
    files = sorted(each.name for each in directory.glob("*.py"))
    return f"{words}; {str(directory.relative_to(root))!r} has {_listed(files)}{_suggested(path.name, files)}"


def _import_entry(edition: Edition, path: Path, what: str) -> ModuleType:
    try:
        return edition.import_file(path)
    except SystemExit as exit:
        raise LocalProtocolError(f"{what} called sys.exit({exit.code!r}) while it was imported") from exit
    except StopIteration as error:
        # A future can't hold a StopIteration: whoever awaits this load in a worker thread would wait for ever.
        raise RuntimeError(f"{what} raised StopIteration while it was imported") from error


def _attribute(found: object, qualname: str, where: str) -> object:
    for name in qualname.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            names = _callables(found)
            raise LocalProtocolError(
                f"{where} has no {qualname!r}; it has {_listed(names)}{_suggested(qualname, names)}"
            ) from None
    return found


def _callables(owner: object) -> list[str]:
    """Names of functions and classes: those made there, or where there are none, those imported."""
    public = {
        name: value
        for name, value in getattr(owner, "__dict__", {}).items()
        if not name.startswith("_") and callable(value)
    }
    home = getattr(owner, "__name__", None)
    own = [name for name, value in public.items() if getattr(value, "__module__", None) == home]
    return own or list(public)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(map(repr, names[:_MAX_NAMED])) or "none"
    return f"{shown} and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else shown


def _suggested(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f". Did you mean {close[0]!r}?" if close else ""
