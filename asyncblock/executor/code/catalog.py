"""The catalog: which packages and blocks an executor can run, by hash, and the functions behind them."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...block import AnyBlock, Binding, bind
from ...blockcode.enclosed import words_of
from ...blockcode.packages import package_hash, package_name
from ...errors import LocalProtocolError, Unavailable
from ..shell import shell
from .jobtemplates import key_of
from .loader import Loader

if TYPE_CHECKING:
    from ...flow.plan import Plan

__all__ = ["Catalog", "PackageEdited", "accepted"]

_MOST_ENCLOSING = 1000
"""Blocks that differ in what they have closed over and are kept: a service may make one for each request."""

_SHORTEST = 6
"""Characters of a version that name it: fewer might mean another one too."""


class PackageEdited(LocalProtocolError):
    """A package holds other code than it did when this executor announced it."""


class Catalog:
    """Packages by hash and code blocks by name. Its methods may be called from any thread."""

    def __init__(self, blocks: Iterable[AnyBlock], packages: Sequence[str | Path]) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.patience = 0.0
        """Seconds that a block waits for its own package's directory: a parent's order may be on its way."""
        self.one_edition = False
        """Files that were loaded and edited aren't read anew here: another process can take this one's place."""
        self.accepts: tuple[str, ...] = ()
        """How versions begin that aren't here and instead of which those of the same package are run that are."""
        self._loader = Loader()
        self._directories = [Path(package).resolve() for package in packages]
        self._roots: dict[str, list[Path]] = {}
        """By hash; two copies of the same code may have different data beside them."""
        self._hashed: dict[Path, str] = {}
        """Those whose hashes were made here: who has made one asks for the directory, whatever it holds by then."""
        self._names: dict[str, str] = {}
        self._code: dict[tuple[str, str], dict[str, AnyBlock]] = {}
        """Code blocks by module and function, then by hash, the latest last: those of one factory have one name."""
        self._given: dict[str, tuple[AnyBlock, ...]] = {}
        """The blocks of a session that this process has started: what is defined anew since isn't meant there."""
        self._enclosing: deque[AnyBlock] = deque()
        """Those with values of their own, of which there may come ever more."""
        self._bindings: dict[tuple[str, ...], Binding] = {}
        self._code[shell.entry, shell.function] = {shell.hash: shell}
        for block in blocks:
            self._add_block(block)

    def _add_block(self, block: AnyBlock) -> bool:
        if not isinstance(block, AnyBlock):
            raise LocalProtocolError(f"{block!r} is no block; put @asyncblock.block above the function")
        with self._lock:
            new = block.hash not in self._names
            same = self._code.setdefault((block.entry, block.function), {})
            same.pop(block.hash, None)
            same[block.hash] = block
            self._names[block.hash] = f"{block.package}:{block.function}"
            if new and words_of(block.fn):
                self._enclosing.append(block)
                if len(self._enclosing) > _MOST_ENCLOSING:
                    gone = self._enclosing.popleft()
                    self._names.pop(gone.hash, None)
                    self._code[gone.entry, gone.function].pop(gone.hash, None)
        return new

    def hash_all(self) -> None:
        """Compute the hashes of the package directories. Reads files."""
        for directory in self._directories:
            self._add_root(directory)

    def _add_root(self, root: Path) -> bool:
        if not root.is_dir():
            raise Unavailable(f"package directory {root} isn't there")
        digest = package_hash(root)
        self._hashed[root] = digest
        return self._add(digest, root)

    def look_again(self) -> None:
        """Make the hashes of package directories anew; edited ones are what they hold now. Reads files."""
        for root, before in list(self._hashed.items()):
            if package_hash(root) != before:
                with self._lock:
                    self._roots[before].remove(root)
                    if not self._roots[before]:
                        del self._roots[before], self._names[before]
                self._add_root(root)

    def _add(self, digest: str, root: Path) -> bool:
        name = package_name(root)
        with self._lock:
            new = digest not in self._roots
            roots = self._roots.setdefault(digest, [])
            if root in roots:
                roots.remove(root)
            # The latest first: it is meant where a block doesn't say which.
            roots.insert(0, root)
            self._names[digest] = name
            self._changed.notify_all()
        return new

    def add_known(self, known: Iterable[tuple[str, str | Path]]) -> bool:
        """Add hashes and package directories, as somebody on this disk has put them together; tell whether any is new.

        What has been edited meanwhile, or written by a block, is found all the same: whoever asked for that hash asks
        for that directory.
        """
        found = [(digest, Path(root)) for digest, root in known]
        for _, root in found:
            self._hashed.pop(root, None)
        new = [self._add(digest, root) for digest, root in found]
        return any(new)

    def announced(self) -> list[tuple[str, str]]:
        """Return hashes and package directories as they were made here."""
        return [(digest, str(root)) for root, digest in list(self._hashed.items())]

    def add_announced(self, announced: Iterable[tuple[str, str | Path]]) -> None:
        """Take hashes for one's own that another process of the same executor has made: edits since are seen."""
        for digest, root in announced:
            self._hashed[Path(root)] = digest

    def is_outdated(self, roots: Iterable[Path]) -> bool:
        """Tell whether files of any of the packages were loaded and have been edited since. Reads files."""
        return any(self._loader.is_outdated(root) for root in roots)

    def known(self) -> list[tuple[str, str]]:
        """Return hashes and package directories, as ``add_known`` takes them."""
        with self._lock:
            return [(digest, str(root)) for digest, roots in self._roots.items() for root in reversed(roots)]

    def add_plan(self, plan: Plan) -> bool:
        """Add the packages and code blocks that a plan made in this process refers to; tell whether any is new."""
        new = [self.add_known(plan.roots.items())]
        new += [self._add_block(block) for block in plan.code_blocks if isinstance(block, AnyBlock)]
        return any(new)

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Let a session that this process starts have the very blocks of its plan."""
        blocks = tuple(block for block in plan.code_blocks if isinstance(block, AnyBlock))
        if blocks:
            self._given[session_id] = blocks

    def session_refused(self, session_id: str) -> None:
        """Forget that."""
        self._given.pop(session_id, None)

    def packages(self) -> dict[str, str]:
        """Return the names of everything here by hash."""
        with self._lock:
            return dict(self._names)

    def cached(self, key: tuple[str, ...]) -> Binding | None:
        """Return the binding that ``key_of`` a block names, when it was loaded for this session before."""
        return self._bindings.get(key)

    def load(self, spec: dict[str, Any], session_id: str) -> Binding:
        """Load the block of a dispatch and bind it. Runs the block's module; call it on a worker thread.

        Raises what the module raises, or a typed error that says what is missing.
        """
        block = self._block(spec, session_id)
        if block is None:
            binding = _bound(self.function(spec, session_id), spec)
        else:
            # Bound where it was defined: its annotations may name what only stood there.
            binding = block.binding
        self._bindings[key_of(spec, session_id)] = binding
        return binding

    def function(self, spec: dict[str, Any], session_id: str) -> Callable[..., object]:
        """Return a function as ``load`` finds it, whatever its parameters. Raises as ``load``."""
        entry, function = str(spec["entry"]), str(spec["function"])
        if block := self._block(spec, session_id):
            return block.fn
        root = self.root(spec)
        before = self._hashed.get(root)
        if before is not None and (now := package_hash(root)) != before:
            # What was asked for, or accepted, isn't what would be read now.
            raise PackageEdited(
                f"package {spec['package']!r} was edited: its executor announced version {before[:12]} of it, and it "
                f"holds {now[:12]} now"
            )
        if self.one_edition and self._loader.would_replace(root, session_id):
            raise PackageEdited(f"package {spec['package']!r} was edited after this process had loaded some of it")
        return self._loader.load(root, entry, function, session_id=session_id, dir=str(spec.get("dir") or "."))

    def _block(self, spec: dict[str, Any], session_id: str) -> AnyBlock | None:
        """Return the code block that a spec means; None for one of a package."""
        if not str(spec["package"]).startswith("python:"):
            return None
        entry, function = str(spec["entry"]), str(spec["function"])
        for block in self._given.get(session_id, ()):
            if (block.entry, block.function, block.hash) == (entry, function, spec.get("hash")):
                return block
        with self._lock:
            same = self._code.get((entry, function))
            if not same:
                raise LocalProtocolError(f"this executor has no block {function!r} of module {entry!r}")
            # Where another version is accepted, the latest.
            return same.get(str(spec.get("hash"))) or next(reversed(same.values()))

    def root(self, spec: Mapping[str, Any]) -> Path:
        """Return the directory of a block's package: that which the plan was made of, where it is here. May wait."""
        digest, wanted = str(spec["hash"]), str(spec.get("root"))
        with self._lock:
            roots = self._roots.get(digest, [])
            if self.patience and roots and not _named(roots, wanted) and Path(wanted).is_dir():
                self._changed.wait_for(lambda: _named(roots, wanted), self.patience)
            if not roots and self.accepts and digest.startswith(self.accepts):
                named = [hash for hash, name in self._names.items() if name == spec["package"] and hash in self._roots]
                # The latest, where an edit has made several.
                roots = self._roots[named[-1]] if named else []
            if not roots:
                raise LocalProtocolError(f"this executor has no package {spec['package']!r} with hash {digest[:12]}")
            return _named(roots, wanted) or roots[0]

    def roots_of(self, digest: str) -> list[Path]:
        """Return the directories of a package by its hash; none for code blocks and for what isn't here."""
        with self._lock:
            return [*self._roots.get(digest, ())]

    def roots(self) -> list[Path]:
        """Return all package directories."""
        with self._lock:
            return [root for roots in self._roots.values() for root in roots]

    def end_session(self, session_id: str) -> None:
        """Let go of what was loaded for a session."""
        self._given.pop(session_id, None)
        # Others are loaded on other threads meanwhile; a copy is made in one step.
        for key in [key for key in list(self._bindings) if key[0] == session_id]:
            _end(self._bindings.pop(key))
        self._loader.end_session(session_id)

    def close(self) -> None:
        """Let go of everything that was loaded; a further load reads the files anew."""
        for binding in self._bindings.values():
            _end(binding)
        self._bindings.clear()
        self._loader.close()


def accepted(versions: Iterable[str]) -> tuple[str, ...]:
    """Return how versions begin that an operator accepts; the environment's where none are given.

    Raises ``LocalProtocolError`` for what can't name a version.
    """
    text = " ".join(versions) or os.environ.get("ASYNCBLOCK_ACCEPT", "")
    given = text.replace(",", " ").split()
    for each in given:
        if each != "any" and (len(each) < _SHORTEST or not set(each) <= set("0123456789abcdef")):
            raise LocalProtocolError(
                f"{each!r} isn't a version; give at least {_SHORTEST} of its digits, as a waiting session says "
                "them, or 'any'"
            )
    return tuple("" if each == "any" else each for each in given)


def _bound(fn: Callable[..., object], spec: Mapping[str, Any]) -> Binding:
    from ...oocana_surface import is_for_oocana, oocana_binding

    return oocana_binding(fn) if is_for_oocana(fn, spec.get("context")) else bind(fn)


def _end(binding: Binding) -> None:
    if binding.ended is not None:
        binding.ended()


def _named(roots: Sequence[Path], wanted: str) -> Path | None:
    return next((root for root in roots if str(root) == wanted), None)
