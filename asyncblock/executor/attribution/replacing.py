"""Functions of other modules that are replaced for a while: in those that are loaded, and in those that come later."""

from __future__ import annotations

import functools
import importlib.abc
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ...values.brought import brought

__all__ = ["Patches", "Replacements"]

Patches = Mapping[str, Sequence[tuple[str, Callable[[Callable[..., Any]], Callable[..., Any]]]]]
"""By module: the dotted name of each function in it, and what makes the one that takes its place."""


class Replacements(importlib.abc.MetaPathFinder):
    """What is replaced while this stands in ``sys.meta_path``. Nothing is imported for it."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._patched: list[tuple[Any, str, Any, Any]] = []
        for name in patches:
            module = brought(name)
            if module is not None:
                self.patch(module)
        sys.meta_path.insert(0, self)

    def undo(self) -> None:
        """Put back what nobody else has replaced since."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for owner, name, original, replacement in self._patched:
            if vars(owner).get(name) is replacement:
                setattr(owner, name, original)

    def patch(self, module: ModuleType) -> None:
        """Replace a module's functions."""
        for path, wrap in self._patches[module.__name__]:
            *above, name = path.split(".")
            owner: Any = module
            for each in above:
                owner = getattr(owner, each)
            original = vars(owner).get(name)
            if callable(original):
                replacement = wrap(original)
                functools.update_wrapper(replacement, original)
                setattr(owner, name, replacement)
                self._patched.append((owner, name, original, replacement))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module as everybody else does, and patch it when it is loaded."""
        if fullname not in self._patches:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _PatchingLoader(spec.loader, self)
                return spec
        return None


class _PatchingLoader(importlib.abc.Loader):
    """Loads a module by its own loader, which it then puts back."""

    def __init__(self, loader: Any, replacements: Replacements) -> None:
        self._loader = loader
        self._replacements = replacements

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._replacements.patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
