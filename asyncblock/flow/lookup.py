"""Where the blocks and flows that a flow refers to are. Forms, in this order: ``self::x``, absolute, relative,
``pkg::x``, a bare name.

A package is looked up in all search paths as ``<pkg>-<version>``: the version that the flow's own package depends on,
else the highest that is in any of them; then as ``<pkg>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["FILES", "FLOW_FILES", "Lookup", "flow_file", "runnable_file", "version_key"]

FLOW_FILES: Final = ("flow.oo.yaml", "flow.oo.yml")
FILES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "task": (("blocks", "tasks"), ("block.oo.yaml", "block.oo.yml", "task.oo.yaml", "task.oo.yml")),
    "subflow": (("subflows",), ("subflow.oo.yaml", "subflow.oo.yml")),
    "slotflow": (("slotflows",), ("slotflow.oo.yaml", "slotflow.oo.yml")),
    "service": (("services", "blocks"), ("service.oo.yaml", "service.oo.yml")),
}
"""For each kind the directories of a package that hold it, and its files."""

_VERSION = re.compile(r"\d+(\.\d+)*([-.+][0-9A-Za-z.+-]+)?")


def flow_file(path: Path) -> Path | None:
    """Return the flow file that a path means: itself, or the one in a directory."""
    return _file_in(path, FLOW_FILES)


def runnable_file(path: Path) -> Path | None:
    """Return what a path means to a command: a flow, or else a subflow or block that runs as a flow of its own."""
    names = (*FLOW_FILES, *FILES["subflow"][1], *FILES["task"][1])
    return _file_in(path, names)


class Lookup:
    """Finds files by reference, seen from a flow in a directory of a package."""

    def __init__(self, search_paths: Sequence[Path]) -> None:
        self._search_paths = search_paths

    def find(
        self, kind: str, reference: str, flow_dir: Path, home: Path, name: str, dependencies: Mapping[str, str]
    ) -> Path | None:
        """Return the file that a reference means, or None when it is nowhere.

        ``home`` is the root of the flow's own package, and ``name`` what that calls itself.
        """
        folders, names = FILES[kind]
        for candidate in self._candidates(reference, flow_dir, home, name, dependencies, folders):
            found = _file_in(candidate, names)
            if found is not None:
                return found.resolve()
        return None

    @staticmethod
    def names(kind: str, home: Path) -> list[str]:
        """Return what of a kind a package has."""
        folders, names = FILES[kind]
        there = (directory for folder in folders for directory in (home / folder).glob("*/"))
        return sorted({each.name for each in there if _file_in(each, names) is not None and not each.is_file()})

    def package(self, name: str, flow_dir: Path, dependencies: Mapping[str, str]) -> Iterator[Path]:
        """Return the directories where a package may be, the most fitting first."""
        directories = (*self._search_paths, flow_dir)
        if (wanted := dependencies.get(name)) is not None:
            yield from (directory / f"{name}-{wanted}" for directory in directories)
        else:
            found = [path for directory in directories for path in self._versions(directory, name)]
            yield from sorted(found, key=lambda path: version_key(path.name[len(name) + 1 :]), reverse=True)
        yield from (directory / name for directory in directories)

    def installed(self, name: str, flow_dir: Path) -> list[str]:
        """Return the versions of a package that are there."""
        found = {
            path.name[len(name) + 1 :] for d in (*self._search_paths, flow_dir) for path in self._versions(d, name)
        }
        return sorted(found, key=version_key)

    def _candidates(
        self,
        reference: str,
        flow_dir: Path,
        home: Path,
        own_name: str,
        dependencies: Mapping[str, str],
        folders: Sequence[str],
    ) -> Iterator[Path]:
        package, separator, name = reference.partition("::")
        if separator and package == "self":
            for root in (flow_dir.parent.parent, home, flow_dir):
                yield from (root / folder / name for folder in folders)
        elif separator:
            for root in self.package(package, flow_dir, dependencies):
                yield from (root / folder / name for folder in folders)
            own = package in (own_name, home.name)
            if own or re.fullmatch(rf"{re.escape(package)}-{_VERSION.pattern}", home.name):
                yield from (home / folder / name for folder in folders)
        elif Path(reference).is_absolute():
            yield Path(reference)
        elif reference.startswith("."):
            yield flow_dir / reference
        else:
            for directory in (*self._search_paths, flow_dir):
                yield directory / reference
                yield from (directory / folder / reference for folder in folders)

    @staticmethod
    def _versions(directory: Path, package: str) -> Iterator[Path]:
        if not directory.is_dir():
            return
        for path in directory.glob(f"{package}-*"):
            if _VERSION.fullmatch(path.name[len(package) + 1 :]):
                yield path


def version_key(version: str) -> tuple[list[int], bool, str]:
    """Return what versions are sorted by: numbers as numbers, and a release above its candidates."""
    release, _, rest = version.partition("-")
    numbers = [int(part) for part in re.findall(r"\d+", release)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers, not rest, rest


def _file_in(path: Path, names: Sequence[str]) -> Path | None:
    if path.is_file():
        return path
    return next((path / name for name in names if (path / name).is_file()), None)
