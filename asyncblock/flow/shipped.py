"""The flows that come with asyncblock, by name: ``asyncblock run NAME``, ``mainframe.start("NAME")``.

They are packages in ``asyncblock/examples``, which are read here and never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .yamlfile import read_yaml

__all__ = ["Example", "find", "shipped"]

_DIRECTORY: Final = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True, slots=True)
class Example:
    """A shipped flow."""

    name: str
    about: str
    root: Path
    """Its package."""
    flow: Path


def shipped() -> list[Example]:
    """Return the shipped flows, by name. Reads files."""
    found = []
    for package in sorted(_DIRECTORY.glob("*/package.oo.yaml")):
        described, _ = read_yaml(package)
        assert described is not None
        name = str(described["name"])
        flow = package.parent / "flows" / name / "flow.oo.yaml"
        found.append(Example(name, str(described["description"]), package.parent, flow))
    return found


def find(name: str) -> Path | None:
    """Return the flow file of a shipped flow, or None."""
    flow = _DIRECTORY / name / "flows" / name / "flow.oo.yaml"
    return flow if name.isidentifier() and flow.is_file() else None
