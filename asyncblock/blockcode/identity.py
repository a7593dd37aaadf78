"""Which code it is: the digest of what a Python source says, and that of a module with those of its package it imports.

Comments, layout and line numbers don't count; docstrings do, for programs can read them. The digest is the same on
every version of Python that can read the source: an executor may have another one than whoever starts a flow.
"""

from __future__ import annotations

import ast
import hashlib
import os
import site
import stat
import sys
import sysconfig
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Final

from .syntax import parse

__all__ = ["MAX_SOURCE", "imports_in", "module_digest", "module_imports", "open_file", "read_file", "syntax_digest"]

MAX_SOURCE: Final = 4 << 20
"""Bytes of a source that is parsed: more was made by a program."""

_KNOWN_SOURCES: Final = 4096
"""Sources whose digests are kept: the same files are looked at for each flow and each session."""

_SAYS_NOTHING: Final = frozenset({"kind", "type_ignores", "type_comment", "ctx"})
"""Fields that follow from the others, or that Python itself doesn't look at."""

_TYPING: Final = "TYPE_CHECKING"

_known: dict[bytes, bytes] = {}
_lock: Final = threading.Lock()


def syntax_digest(source: bytes, filename: str = "<source>") -> bytes:
    """Return a digest of what a Python source says; of its bytes where it can't be read as one."""
    key = hashlib.sha256(source).digest()
    with _lock:
        found = _known.get(key)
    if found is None:
        try:
            found = _tree_digest(parse(source, filename))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = hashlib.sha256(b"unread:" + source).digest()
        with _lock:
            if len(_known) >= _KNOWN_SOURCES:
                _known.clear()
            _known[key] = found
    return found


def _tree_digest(tree: ast.AST) -> bytes:
    """Walk a tree without recursion: a long chain of operators is deep.

    Fields that are empty aren't written: later versions of Python add some.
    """
    written: list[str] = []
    waiting: list[object] = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.AST):
            written.append(type(each).__name__)
            waiting.append(_END)
            for name in reversed(each._fields):
                value = getattr(each, name, None)
                if value is None and not isinstance(each, ast.Constant):
                    continue
                if value == [] or name in _SAYS_NOTHING:
                    continue
                if isinstance(each, ast.JoinedStr):
                    # 3.12.1 ends some formats with an empty text.
                    value = [part for part in each.values if not (isinstance(part, ast.Constant) and part.value == "")]
                waiting.append(value)
                waiting.append(_Name(name))
        elif isinstance(each, list):
            waiting.append(_END)
            waiting.extend(reversed(each))
            written.append("[")
        elif isinstance(each, _Name):
            written.append(each)
        elif each is _END:
            written.append("]")
        else:
            # With the length of the text: what it holds can't be taken for what follows.
            text = _text(each)
            written.append(f"{type(each).__name__} {len(text)} {text}")
    return hashlib.sha256("\n".join(written).encode("utf-8", "surrogatepass")).digest()


def _text(constant: object) -> str:
    if isinstance(constant, str):
        # Not its repr: which characters that escapes depends on the version of Python.
        return constant
    # Nor may an integer have any number of decimal digits.
    return hex(constant) if type(constant) is int else repr(constant)


class _Name(str):
    """The name of a field."""

    __slots__ = ()


_END: Final = object()


def open_file(path: Path) -> BufferedReader | None:
    """Open a regular file; None for anything else, and for what can't be read. Never waits for a writer."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    file = open(handle, "rb")  # noqa: SIM115  # whoever asked closes it
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return file
    file.close()
    return None


def read_file(path: Path, limit: int = MAX_SOURCE) -> bytes | None:
    """Return a regular file's content; None for anything else, for what can't be read, and for more than the limit."""
    file = open_file(path)
    if file is None:
        return None
    with file:
        try:
            content = file.read(limit + 1)
        except OSError:
            return None
    return content if len(content) <= limit else None


# ---------------------------------------------------------------------- modules


def module_digest(name: str, file: Path) -> str | None:
    """Return a digest of a module and of those of its package that it imports, and these import, as their sources say.

    ``name`` is the module's full name. Of a module that stands in no package, those beside it count. None when the
    file can't be read.
    """
    if read_file(file) is None:
        return None
    found = {module: syntax_digest(source, str(path)) for module, (path, source) in _modules(name, file).items()}
    whole = hashlib.sha256()
    for module in sorted(found):
        text = module.encode("utf-8", "surrogatepass")
        whole.update(b"%d:%b:" % (len(text), text) + found[module])
    return whole.hexdigest()


def module_imports(name: str, file: Path) -> frozenset[str]:
    """Return the first parts of the names that those modules import, but for the standard library's and their own."""
    found = _modules(name, file)
    tops: set[str] = set()
    for path, source in found.values():
        try:
            tree = parse(source, str(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in imports_in(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            tops |= {each.partition(".")[0] for each in names if isinstance(node, ast.Import) or not node.level}
    return frozenset(tops - sys.stdlib_module_names - {module.partition(".")[0] for module in found})


def _modules(name: str, file: Path) -> dict[str, tuple[Path, bytes]]:
    """Return a module and those of its package that it imports, and these import, with their sources."""
    found: dict[str, tuple[Path, bytes]] = {}
    package = _Package(name, file)
    waiting = [(name, file)]
    while waiting:
        module, path = waiting.pop()
        if module in found or (source := read_file(path)) is None:
            continue
        found[module] = (path, source)
        waiting.extend(package.imported(module, path, source))
    return found


class _Package:
    """What belongs together with a module: its top-level package, or the modules beside it."""

    def __init__(self, name: str, file: Path) -> None:
        top = name.split(".")
        steps = len(top) if file.name == "__init__.py" else len(top) - 1
        self._base = file.absolute().parent
        for _ in range(steps):
            self._base = self._base.parent
        parts = [*top[:-1], file.stem] if file.name != "__init__.py" else top
        place = self._base.joinpath(*parts)
        expected = place / "__init__.py" if file.name == "__init__.py" else place.with_name(f"{place.name}.py")
        self._fits = expected == file.absolute()
        self._top = top[0] if len(top) > 1 or file.name == "__init__.py" else None
        self._limit = name.rpartition(".")[0] if self._top == __name__.partition(".")[0] else self._top
        self._closed = self._top is None and _is_library(self._base)

    def imported(self, module: str, path: Path, source: bytes) -> Iterator[tuple[str, Path]]:
        """Yield the modules of the package that a source imports, with their files."""
        if not self._fits or self._closed:
            return
        try:
            tree = parse(source, str(path))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        home = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in imports_in(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._find(alias.name)
                continue
            origin = _absolute(node, home)
            if origin is None:
                continue
            whole = False
            for alias in node.names:
                inner = f"{origin}.{alias.name}" if origin else alias.name
                submodules = list(self._find(inner))
                # Where it is no module, it is a name that the package itself defines.
                whole = whole or not submodules
                yield from submodules
            if whole:
                yield from self._find(origin)

    def _find(self, name: str) -> Iterator[tuple[str, Path]]:
        if self._limit is not None and name != self._limit and not name.startswith(f"{self._limit}."):
            return
        place = self._base.joinpath(*name.split("."))
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                yield name, path
                return


def imports_in(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of a source, those in functions too, but not what is imported for typing only."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and _is_for_typing(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.expr):
            waiting.extend(ast.iter_child_nodes(node))


def _is_for_typing(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == _TYPING) or (
        isinstance(test, ast.Attribute) and test.attr == _TYPING
    )


def _absolute(node: ast.ImportFrom, home: str) -> str | None:
    """Return the full name of what is imported from; None for one that leads out of the package."""
    if not node.level:
        return node.module or ""
    parts = home.split(".") if home else []
    if node.level - 1 > len(parts):
        return None
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _is_library(directory: Path) -> bool:
    """Tell whether installed modules stand in a directory: those beside one of them are none of its business."""
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), sysconfig.get_path("stdlib")]
    return str(directory) in {*places, site.getusersitepackages()}
