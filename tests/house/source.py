"""The package's source, read once: modules with their imports, classes, comments. Pure but for reading the files."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import asyncblock

__all__ = ["ROOT", "Module", "modules"]

ROOT: Final = Path(asyncblock.__file__).parent

_NOT_READ: Final = ("examples", "cli/templates")
"""What is there to be copied or run, not to be built on."""


@dataclass(frozen=True)
class Module:
    """One file."""

    path: Path

    @property
    def place(self) -> str:
        """Its path from the package's directory."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def name(self) -> str:
        """Its dotted name."""
        # The tests are read, too, and needn't stand beside the package that is installed.
        base = ROOT.parent if self.path.is_relative_to(ROOT) else Path(__file__).parents[2]
        parts = self.path.relative_to(base).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        """Its source."""
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax."""
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        """How many there are."""
        return self.text.count("\n")

    @cached_property
    def comments(self) -> int:
        """Return how many lines have a comment for people: none that tells a tool what to leave alone."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        told = (each.string.lstrip("# ") for each in tokens if each.type == tokenize.COMMENT)
        return sum(not words.startswith(("noqa", "type: ignore", "fmt:", "pragma")) for words in told)

    @property
    def classes(self) -> list[ast.ClassDef]:
        """Those at its top level."""
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]

    def imported(self, known: set[str]) -> set[str]:
        """Return which of the known modules it imports, for types alone and within functions too."""
        package = self.name.split(".") if self.path.name == "__init__.py" else self.name.split(".")[:-1]
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(_longest(alias.name, known) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                within = ".".join([*base, *([node.module] if node.module else [])])
                found.update(_longest(f"{within}.{alias.name}", known) for alias in node.names)
        return found - {"", self.name}


def modules() -> list[Module]:
    """Return the modules of the package, in order."""
    found = [path for path in sorted(ROOT.rglob("*.py")) if not _left_out(path.relative_to(ROOT).as_posix())]
    return [Module(path) for path in found]


def _left_out(place: str) -> bool:
    return place.startswith(_NOT_READ)


def _longest(name: str, known: set[str]) -> str:
    """Return the module that a dotted name is, or is in; empty for none of ours."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name
