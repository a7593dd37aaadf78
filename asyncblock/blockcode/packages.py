"""Block packages on disk: where a package's root is, what it is called, and the hash that says which code it holds.

What counts is what runs: Python and shell sources, compiled modules, the manifests that say how a block or service is
run, and the entry files that manifests name. Data doesn't: a block may write beside itself. Nor do flows, which travel
whole. ``code`` in a ``package.oo.yaml`` says otherwise, with lists of patterns as in a ``.gitignore``::

    code:
      include: ["prompts/*.txt"]
      exclude: ["tests", "scratch/**"]
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from ..errors import Unavailable
from .identity import MAX_SOURCE, open_file, read_file, syntax_digest
from .patterns import Rules

__all__ = [
    "PACKAGE_FILES",
    "code_files",
    "edit_mark",
    "is_manifest",
    "package_hash",
    "package_name",
    "package_root",
    "watched",
]

PACKAGE_FILES = ("package.oo.yaml", "package.oo.yml")
_LAYOUT = ("flows", "subflows", "slotflows", "blocks", "tasks", "services")
"""Directories that a package root holds; a block or flow in one of them belongs to the directory above."""

_MAX_MANIFEST = 1 << 20
"""Bytes of a ``package.oo.yaml`` that are looked at for the name."""

_DATA_FILES = frozenset({"journal.db", "lock"})
"""What a mainframe's data directory holds. One that stands in a package changes while its blocks run."""

_SOURCES: Final = (".py", ".sh", ".bash", *{suffix[suffix.rindex(".") :] for suffix in EXTENSION_SUFFIXES})
"""How the names of files end that run without being named."""

_MANIFEST: Final = re.compile(r"(package|block|task|service)\.oo\.ya?ml")
_FLOW: Final = re.compile(r"(flow|subflow|slotflow)\.oo\.ya?ml")

_NO_CODE: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
"""Directories of what others have written, or made of the sources."""

_MAX_CODE: Final = 256 << 20
"""Bytes of code that a package may hold: it is read at every start to make the hash. Whoever has that much has data
among it."""


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
        # A pipe of that name is no manifest, and nobody may ever write into it.
        file = open_file(root / name)
        if file is None:
            continue
        try:
            with file:
                text = file.read(_MAX_MANIFEST).decode("utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for line in text.splitlines():
            key, _, value = line.partition(":")
            if key == "name" and value.strip():
                return value.strip().strip("'\"")
    return root.name


def package_hash(root: Path) -> str:
    """Return the sha256 over a package's code: the relative paths of the files that count, and what they hold.

    Of Python sources their syntax counts, not comments and layout. Special files and those that can't be read aren't
    code. Raises ``Unavailable`` for more than 256 MiB, a package that can't be read, or patterns that can't be meant.
    """
    return _hash(code_files(root), root)


def edit_mark(root: Path) -> str:
    """Return a hash of everything in a package that decides how a flow runs: its code, and its flows."""
    return _hash(code_files(root, flows=True), root)


def _hash(files: dict[str, Path], root: Path) -> str:
    digest = hashlib.sha256()
    total = 0
    for name in sorted(files):
        file = open_file(files[name])
        if file is None:
            continue
        with file:
            try:
                size, content = _content_digest(file, files[name])
            except OSError:
                continue
        total += size
        if total > _MAX_CODE:
            raise Unavailable(
                f"package {root} holds more than {_MAX_CODE >> 20} MiB of code; name directories that are none in its "
                "package.oo.yaml: code: {exclude: [...]}"
            )
        text = os.fsencode(name)
        digest.update(b"%d:%b:%b" % (len(text), text, content))
    return digest.hexdigest()


def _content_digest(file: BufferedReader, path: Path) -> tuple[int, bytes]:
    """Return a file's size and the digest of what counts in it."""
    size = os.fstat(file.fileno()).st_size
    if path.suffix == ".py" and size <= MAX_SOURCE:
        return size, syntax_digest(file.read(), str(path))
    return size, hashlib.file_digest(file, "sha256").digest() if size <= _MAX_CODE else b""


def code_files(root: Path, *, flows: bool = False) -> dict[str, Path]:
    """Return the files of a package that count, by their relative paths; with ``flows``, those that travel too.

    Raises as ``package_hash``.
    """
    try:
        os.scandir(root).close()
    except OSError as error:
        raise Unavailable(f"package {root} can't be read: {error.strerror} ({error.filename})") from error
    rules = _rules_of(root)
    found: dict[str, Path] = {}
    named: set[str] = set()
    for name, path in _walk(root, rules):
        file = path.name
        manifest, is_flow = is_manifest(name), _FLOW.fullmatch(file)
        if manifest or is_flow:
            named |= _entries(path, name)
        if manifest or (is_flow and flows) or file.endswith(_SOURCES) or rules.includes(name):
            found[name] = path
    for name in named - found.keys():
        path = root / name
        if not rules.excludes(name) and path.is_file():
            found[name] = path
    return found


def is_manifest(name: str) -> bool:
    """Tell whether a file of a package says what its blocks are: a relative path."""
    return _MANIFEST.fullmatch(name.rpartition("/")[2]) is not None


def watched(root: Path) -> set[Path]:
    """Return the directories of a package in which code may come, go or change. Raises as ``package_hash``."""
    entered: set[Path] = set()
    for _ in _walk(root, _rules_of(root), entered):
        pass
    return entered


def _walk(root: Path, rules: Rules, entered: set[Path] | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package with their relative paths. What can't be listed holds nothing that could run."""
    waiting: list[tuple[str, Path, frozenset[tuple[int, int]]]] = [("", root, frozenset())]
    while waiting:
        prefix, directory, above = waiting.pop()
        try:
            with os.scandir(directory) as listing:
                entries = list(listing)
            status = directory.stat()
        except OSError:
            continue
        names = {each.name for each in entries}
        if prefix and not _belongs(names) and not rules.reach(prefix[:-1]):
            continue
        if entered is not None:
            entered.add(directory)
        here = above | {(status.st_dev, status.st_ino)}
        for each in entries:
            name = prefix + each.name
            if rules.excludes(name):
                continue
            path = directory / each.name
            try:
                if each.is_dir():
                    if _is_entered(each, path, name, here, rules):
                        waiting.append((f"{name}/", path, here))
                elif each.is_file() and (not each.name.startswith(".") or rules.includes(name)):
                    yield name, path
            except OSError:
                continue


def _belongs(names: set[str]) -> bool:
    """Tell whether a directory with these names in it is the package's own. One in it has a hash of its own."""
    return "pyvenv.cfg" not in names and not names >= _DATA_FILES and names.isdisjoint(PACKAGE_FILES)


def _is_entered(each: os.DirEntry[str], path: Path, name: str, above: frozenset[tuple[int, int]], rules: Rules) -> bool:
    if (each.name.startswith(".") or each.name in _NO_CODE) and not rules.reach(name):
        return False
    if not each.is_symlink():
        return True
    # Behind a link may be a library beside the package, or a disk of data: only the first has code at its top. Not a
    # directory that the link is in: that would have no end.
    status = path.stat()
    if (status.st_dev, status.st_ino) in above:
        return False
    with os.scandir(path) as listing:
        return rules.reach(name) or any(inner.name.endswith(_SOURCES) for inner in listing)


def _entries(path: Path, name: str) -> set[str]:
    """Return the entry files that a manifest names, by their paths in the package."""
    content = read_file(path)
    if content is None or b"entry" not in content:
        return set()
    waiting, seen, found = [_yaml(content)], set[int](), set[str]()
    while waiting:
        each = waiting.pop()
        if not isinstance(each, (dict, list)) or id(each) in seen:
            continue
        # An alias stands for the same object.
        seen.add(id(each))
        if isinstance(each, dict):
            if isinstance(entry := each.get("entry"), str) and not os.path.isabs(entry):
                inside = os.path.normpath(os.path.join(os.path.dirname(name), entry))
                if not inside.startswith(".."):
                    found.add(inside)
            each = list(each.values())
        waiting.extend(each)
    return found


def _yaml(content: bytes) -> Any:
    """Return what a YAML file holds; None where it is none, which whoever reads the manifest says."""
    import yaml

    try:
        return yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _rules_of(root: Path) -> Rules:
    """Read from a package's manifest what its author counts as code."""
    for name in PACKAGE_FILES:
        content = read_file(root / name)
        if content is None:
            continue
        if not re.search(rb"^[\"']?code[\"']?\s*:", content, re.MULTILINE):
            break
        document = _yaml(content)
        code = document.get("code") if isinstance(document, dict) else None
        if code is None:
            break
        if not isinstance(code, dict) or not code.keys() <= {"include", "exclude"}:
            raise Unavailable(f"{root / name}: 'code' holds 'include' and 'exclude', each a list of patterns")
        include, exclude = (_patterns(code.get(key), f"{root / name}: code.{key}") for key in ("include", "exclude"))
        return Rules(include, exclude)
    return Rules([], [])


def _patterns(given: Any, what: str) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(each, str) and each.strip("/") for each in given):
        raise Unavailable(f"{what} is a list of patterns such as 'prompts/*.txt'")
    for each in given:
        if ".." in each.split("/"):
            raise Unavailable(f"{what}: {each!r} leads out of the package")
    return list(given)
