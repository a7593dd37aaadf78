"""How modules of block packages are imported: an edition of a package is a synthetic package below ``blocks_of``.

Its name is the path of its directory, spelt as an identifier: the same in every process and every run, so what is
pickled here can be read by the workers of a process pool and by the next run. Every directory below the root is a
sub-package, with or without ``__init__.py``. So relative imports work everywhere, and the ``utils.py`` of two packages
are two modules. While two editions of a package are in use in one process, the later has a number in its name.

Absolute imports of the package's own files are turned into imports under that name when a module is compiled. A
top-level name means, in this order: the standard library's module; a module beside the importing one; one in the
block's directory (the nearest above with a ``*.oo.yaml``); one at the package root; what is installed; a plain
directory in those three places. No ``sys.path`` entry is made, and nothing that other code of the process could see.
Names that only exist at run time aren't seen by the compiler: for those there is
``import_module(".utils", __package__)``.

An edition is one reading of the files. A module that fails takes everything that was first imported on its behalf with
it, so that the next try fails, or works, for its own reasons.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

from ...errors import LocalProtocolError
from ...runtime.forks import fresh, fresh_lock
from .redirect import compile_redirected

__all__ = ["Edition", "install", "name_of", "root_of"]

_TOP = "blocks_of"

_lock = fresh_lock()
_editions: dict[str, Edition] = {}


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a module was made of."""

    digest: bytes
    located: dict[str, str | None]
    """What its top-level imports were found to mean."""


class Edition:
    """A package's code as the sessions that began with it see it: its modules, from one reading of each file."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root
        self.lock = fresh(threading.RLock())
        """Held while a block is loaded: two threads that import modules of a circle from different ends would see
        half of each other's."""
        self._readings: dict[str, _Reading] = {}
        self._block_dirs: dict[Path, Path | None] = {}
        self._running = threading.local()
        self.name = _register(self, name)
        self.found = name is not None
        """Made for a name that something has asked for, a pickle perhaps, and not for a loader."""

    @classmethod
    def of(cls, root: Path) -> Edition:
        """Return the edition of a package that a name was asked for before, or else a new one, as nobody else's."""
        with _lock:
            edition = _editions.get(f"{_TOP}.{name_of(root)}")
            if edition is not None and edition.found:
                edition.found = False
            else:
                edition = None
        if edition is None:
            return cls(root)
        if edition.is_fresh():
            return edition
        edition.retire()
        return cls(root)

    def import_file(self, path: Path) -> ModuleType:
        """Import a file under the root, once. Raises what the file raises."""
        # While one thread imports the top package, which sets the finder up, another's import of a module below it
        # wouldn't wait: the import system only looks whether the parent is in ``sys.modules``. This waits.
        importlib.import_module(_TOP)
        module = importlib.import_module(self._module_name(path))
        if module.__file__ != str(path):
            raise LocalProtocolError(f"{path} can't be loaded: {module.__file__} has the same module name and hides it")
        return module

    def is_fresh(self) -> bool:
        """Tell whether every file that was imported, and what its imports mean, is the same as then."""
        self._block_dirs.clear()
        return all(self._is_same(Path(path), reading) for path, reading in list(self._readings.items()))

    def retire(self) -> None:
        """Take the modules out of ``sys.modules``. What still refers to them goes on working."""
        with _lock:
            _editions.pop(self.name, None)
        for name in list(sys.modules):
            if name == self.name or name.startswith(f"{self.name}."):
                _forget(name)

    def _is_same(self, path: Path, reading: _Reading) -> bool:
        try:
            digest = _digest(path.read_bytes())
        except OSError:
            # It has been removed, which is an edit as well.
            return False
        if digest != reading.digest:
            return False
        return all(self._locate(name, path) == found for name, found in reading.located.items())

    # ------------------------------------------------------------------ names and files

    def _module_name(self, path: Path) -> str:
        relative = path.relative_to(self.root)
        location = relative.parent if relative.name == "__init__.py" else relative.with_suffix("")
        return ".".join([self.name, *map(_component, location.parts)])

    def find(self, fullname: str) -> ModuleSpec | None:
        """Return the spec of a module by its full name, for the import system."""
        location = self.root.joinpath(*map(unquote, fullname.split(".")[2:]))
        file = self._file_at(location)
        if file is None:
            if not location.is_dir():
                return None
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(location)]
            return spec
        if file.suffix != ".py":
            return importlib.util.spec_from_file_location(
                fullname, file, loader=ExtensionFileLoader(fullname, str(file))
            )
        places = [str(location)] if file.name == "__init__.py" else None
        loader = _BlockFile(fullname, str(file), self)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=places)

    def _file_at(self, location: Path) -> Path | None:
        """Return the file of the module at a path without suffix, as Python would choose it."""
        names = [location / "__init__.py"]
        if location != self.root:
            names += [location.with_name(location.name + suffix) for suffix in (*EXTENSION_SUFFIXES, ".py")]
        return next((name for name in names if name.is_file()), None)

    def _locate(self, name: str, importer: Path) -> str | None:
        """Return the full name that a top-level import in a file means; None when it isn't the package's."""
        if name in sys.stdlib_module_names:
            return None
        places = [directory / name for directory in self._search(importer.parent)]
        for place in places:
            file = self._file_at(place)
            # A block called pandas.py that imports pandas doesn't mean itself.
            if file is not None and file != importer:
                return self._module_name(file if file.name == "__init__.py" else place)
        for place in places:
            if place.is_dir() and not _is_installed(name, self.root):
                return self._module_name(place / "__init__.py")
        return None

    def _search(self, directory: Path) -> list[Path]:
        places = [directory, self._block_dir(directory) or self.root, self.root]
        return list(dict.fromkeys(places))

    def _block_dir(self, directory: Path) -> Path | None:
        if directory not in self._block_dirs:
            has_block = any(each.name.endswith((".oo.yaml", ".oo.yml")) for each in directory.iterdir())
            above = None if directory == self.root else directory.parent
            found = directory if has_block else (above and self._block_dir(above))
            self._block_dirs[directory] = found
        return self._block_dirs[directory]

    # ------------------------------------------------------------------ running a module

    def execute(self, module: ModuleType, path: Path, source: bytes) -> None:
        """Compile and run a module of the package; when it fails, forget it and what it brought in."""
        located: dict[str, str | None] = {}

        def locate(name: str) -> str | None:
            if name not in located:
                located[name] = self._locate(name, path)
            return located[name]

        with self._undone_on_failure(module.__name__, path):
            code = compile_redirected(source, path, locate)
            self._readings[str(path)] = _Reading(_digest(source), located)
            exec(code, module.__dict__)

    @contextmanager
    def _undone_on_failure(self, name: str, path: Path) -> Iterator[None]:
        # Kept by thread: another thread's imports are none of this failure's business.
        outer: list[tuple[str, Path]] | None = getattr(self._running, "brought", None)
        brought: list[tuple[str, Path]] = []
        self._running.brought = brought
        try:
            yield
        except BaseException:
            # Whatever the module raises, ``SystemExit`` too. The import system takes the module itself out of
            # ``sys.modules``.
            self._readings.pop(str(path), None)
            for each, file in brought:
                self._readings.pop(str(file), None)
                _forget(each)
            raise
        finally:
            self._running.brought = outer
        if outer is not None:
            outer += [*brought, (name, path)]


class _BlockFile(SourceFileLoader):
    """Runs a file of a package. Uses no ``__pycache__``: what is compiled here isn't what others compile from it, and
    its time stamps have whole seconds, too coarse for an edit between two runs."""

    def __init__(self, fullname: str, path: str, edition: Edition) -> None:
        super().__init__(fullname, path)
        self._edition = edition

    def exec_module(self, module: ModuleType) -> None:
        self._edition.execute(module, Path(self.path), self.get_data(self.path))


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, below = fullname.partition(".")
        if top != _TOP or not below:
            return None
        edition = _edition_named(below.partition(".")[0])
        return None if edition is None else edition.find(fullname)


_finder = _Finder()


def install() -> None:
    """Let modules below ``blocks_of`` be found in this process."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def _edition_named(name: str) -> Edition | None:
    """Return the edition of a name; where there is none, one of the files as they are."""
    with _lock:
        edition = _editions.get(f"{_TOP}.{name}")
    if edition is not None:
        return edition
    root = root_of(name)
    return Edition(root, f"{_TOP}.{name}") if root is not None and root.is_dir() else None


def _register(edition: Edition, name: str | None) -> str:
    plain = name_of(edition.root)
    with _lock:
        if name is None:
            names = (f"{_TOP}.{plain}", *(f"{_TOP}.e{number}{plain}" for number in range(2, len(_editions) + 3)))
            name = next(each for each in names if each not in _editions)
        _editions[name] = edition
    return name


def name_of(root: Path) -> str:
    """Return the path of a package as an identifier, from which ``root_of`` can tell it."""
    return "".join(map(_letter, os.fsencode(root), b"/" + os.fsencode(root)))


def root_of(name: str) -> Path | None:
    """Return the path that a package's name says; None for what is no such name."""
    name = re.sub(r"^e[0-9]+(?=_)", "", name)
    path = re.sub(_ESCAPED, lambda found: _MEANT.get(found[0]) or chr(int(found[0][2:], 16)), name)
    try:
        root = Path(os.fsdecode(path.encode("latin-1")))
    except UnicodeEncodeError:
        return None
    return root if root.is_absolute() and name_of(root) == name else None


_PLAIN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

_SPELT = {ord("/"): "_", ord("_"): "_1", ord("."): "_2", ord("-"): "_3"}
_MEANT = {spelt: chr(byte) for byte, spelt in _SPELT.items()}

_ESCAPED = re.compile("_0[0-9a-f]{2}|_[123]|_")


def _letter(byte: int, before: int) -> str:
    # A digit after a slash would be taken for a part of an escape.
    if byte in _PLAIN and not (before == ord("/") and chr(byte).isdigit()):
        return chr(byte)
    return _SPELT.get(byte) or f"_0{byte:02x}"


def _component(part: str) -> str:
    """A directory's or file's name as one component of a module name."""
    return part.replace("%", "%25").replace(".", "%2E")


def _digest(source: bytes) -> bytes:
    return hashlib.blake2b(source, digest_size=16).digest()


def _forget(name: str) -> None:
    module = sys.modules.pop(name, None)
    parent, _, child = name.rpartition(".")
    namespace = getattr(sys.modules.get(parent), "__dict__", {})
    if module is not None and namespace.get(child) is module:
        del namespace[child]


def _is_installed(name: str, root: Path) -> bool:
    """Tell whether Python finds the module elsewhere. A directory below the root that is on ``sys.path`` isn't that."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:
        # find_spec raises it for a module without a spec, such as __main__ or one that a test has put there.
        return name in sys.modules
    if spec is None:
        return False
    if spec.origin is not None:
        return True
    return not all(Path(place).is_relative_to(root) for place in spec.submodule_search_locations or ())
