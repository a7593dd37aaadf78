"""Where the blocks of a flow are. Forms, in this order: ``self::x``, absolute, relative, ``pkg::x``, a bare name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["block_file", "flow_file"]

_BLOCK_FILES = ("block.oo.yaml", "block.oo.yml", "task.oo.yaml", "task.oo.yml")
_FLOW_FILES = ("flow.oo.yaml", "flow.oo.yml")


def flow_file(path: Path) -> Path | None:
    """Return the flow file that a path means: itself, or the one in a directory."""
    return _file_in(path, _FLOW_FILES)


def block_file(reference: str, flow_dir: Path, search_paths: Sequence[Path]) -> Path | None:
    """Return the file of the block that a flow refers to, or None when it is nowhere."""
    for candidate in _candidates(reference, flow_dir, search_paths):
        found = _file_in(candidate, _BLOCK_FILES)
        if found is not None:
            return found
    return None


def _candidates(reference: str, flow_dir: Path, search_paths: Sequence[Path]) -> Iterator[Path]:
    package, separator, name = reference.partition("::")
    if separator and package == "self":
        yield from _in_package(flow_dir.parent.parent, name)
        yield from _in_package(flow_dir, name)
    elif separator:
        for directory in (*search_paths, flow_dir):
            for root in _versions(directory, package):
                yield from _in_package(root, name)
    elif Path(reference).is_absolute():
        yield Path(reference)
    elif reference.startswith("."):
        yield flow_dir / reference
    else:
        for directory in (*search_paths, flow_dir):
            yield directory / reference
            yield from _in_package(directory, reference)


def _in_package(root: Path, name: str) -> Iterator[Path]:
    yield root / "blocks" / name
    yield root / "tasks" / name


def _versions(directory: Path, package: str) -> Iterator[Path]:
    """Return a package's directories: the one without a version, then installed ones, the highest version first."""
    yield directory / package
    if directory.is_dir():
        found = [path for path in directory.glob(f"{package}-*") if path.is_dir()]
        yield from sorted(found, key=lambda path: _version_key(path.name), reverse=True)


def _version_key(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name.rpartition("-")[2])]


def _file_in(path: Path, names: Sequence[str]) -> Path | None:
    if path.is_file():
        return path
    return next((path / name for name in names if (path / name).is_file()), None)
