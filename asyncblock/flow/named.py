"""Which flow a name means: a file, a directory, a package with one flow; or what might have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

from ..errors import InvalidFlow, Problem
from .lookup import runnable_file

__all__ = ["find_flow", "flow_names"]

_MAX_NAMED = 20
"""Flows that an error lists."""


def find_flow(name: str | Path, examples: Callable[[], Iterable[str]]) -> Path:
    """Return the path that a name means. Looks at files.

    A directory without a flow of its own means the one in its ``flows``. Raises ``InvalidFlow`` for a name that means
    nothing, with those that are like it (``examples`` returns further names), and for a package with several flows.
    """
    path = Path(name)
    if path.is_dir() and runnable_file(path) is None and (inside := _flows_of(path)):
        if len(inside) == 1:
            return inside[0]
        named = ", ".join(map(str, inside[:_MAX_NAMED]))
        raise InvalidFlow([Problem(f"the directory has {len(inside)} flows; say which: {named}", str(path))])
    if path.exists() or not isinstance(name, str):
        return path
    near = difflib.get_close_matches(name, [*flow_names(Path()), *examples()], 3, 0.6)
    hint = f". Did you mean {_either(near)}?" if near else ""
    words = "there is no such flow; give a file, a directory, or the name of an example (asyncblock examples)"
    raise InvalidFlow([Problem(f"{words}{hint}", name)])


def flow_names(directory: Path) -> list[str]:
    """Return by which paths the flows in and below a directory may be called."""
    inside = [each.relative_to(directory) for each in _flows_of(directory)]
    packages = [each.parent.relative_to(directory) for each in directory.glob("*/package.oo.y*ml")]
    files = [each.relative_to(directory) for each in directory.glob("*.oo.y*ml") if each.name != "package.oo.yaml"]
    return sorted({str(each) for each in (*inside, *packages, *files)})


def _flows_of(package: Path) -> list[Path]:
    flows = package / "flows"
    if not flows.is_dir():
        return []
    return [each for each in sorted(flows.iterdir()) if each.is_dir() and runnable_file(each) is not None]


def _either(names: Iterable[str]) -> str:
    return " or ".join(map(repr, names))
