"""The public names and how they are called, read from the sources: nothing is imported for it."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Set
from pathlib import Path

import griffe

__all__ = ["DEPRECATED", "KEPT", "PUBLIC", "lines_of", "names"]

ROOT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("names.txt")
"""Those of the last release."""
PUBLIC = ("asyncblock", "asyncblock.events")
"""The modules whose ``__all__`` is public, as CHANGELOG.md says."""

DEPRECATED = " [deprecated]"
"""Behind names that warn their users: by a decorator ``deprecated``, or as a docstring's line beginning so says."""

GIVEN = {f"asyncblock.{name}" for name in ("Body", "Context", "Mainframe", "Session", "SyncContext")}
"""Classes whose objects are given to users, who never make one."""


def names() -> list[str]:
    """Return a line for each name: what it is called, its parameters or its fields."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    package = loader.load("asyncblock")
    loader.resolve_aliases(external=False)
    known = {str(name) for name in package.exports or ()}
    found: set[str] = set()
    for module_name in PUBLIC:
        module = package if module_name == "asyncblock" else package[module_name.partition(".")[2]]
        for name in module.exports or ():
            found.update(lines_of(f"{module_name}.{name}", module[str(name)], known))
    return sorted(found)


def lines_of(path: str, item: griffe.Object | griffe.Alias, known: Set[str]) -> Iterator[str]:
    """Yield the line of a name, and of a class those of its members."""
    if item.is_alias:
        assert isinstance(item, griffe.Alias)
        item = item.final_target
    if isinstance(item, griffe.Class):
        bases = [base.rpartition(".")[2] for base in map(str, item.bases)]
        kept = ", ".join(base for base in bases if base in known or hasattr(builtins, base))
        yield f"{path}({kept}){_mark(item)}"
        for name, member in item.all_members.items():
            if not name.startswith("_") or (name == "__init__" and path not in GIVEN):
                yield from lines_of(f"{path}.{name}", member, known)
    elif isinstance(item, griffe.Function):
        yield f"{path}({', '.join(_parameters(item))}){_mark(item)}"
    else:
        yield f"{path}{_mark(item)}"


def _mark(item: griffe.Object | griffe.Alias) -> str:
    decorators = item.decorators if isinstance(item, griffe.Class | griffe.Function) else []
    called = {each.callable_path.rpartition(".")[2] for each in decorators}
    said = item.docstring is not None and any(
        line.strip().startswith("Deprecated") for line in item.docstring.value.splitlines()
    )
    return DEPRECATED if said or "deprecated" in called else ""


def _parameters(function: griffe.Function) -> Iterator[str]:
    """Write parameters as a caller sees them: names, kinds, and whether one may be left out."""
    star = False
    for each in function.parameters:
        kind, name = each.kind, each.name
        if kind is griffe.ParameterKind.var_positional:
            star, text = True, f"*{name}"
        elif kind is griffe.ParameterKind.var_keyword:
            text = f"**{name}"
        else:
            if kind is griffe.ParameterKind.keyword_only and not star:
                star = True
                yield "*"
            text = name if each.default is None else f"{name}={each.default}"
        yield text
