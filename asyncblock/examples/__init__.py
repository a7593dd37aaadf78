"""Flows that are shipped with asyncblock, each on real data: ``asyncblock run NAME``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Example", "examples", "find"]


@dataclass(frozen=True, slots=True)
class Example:
    """A shipped flow."""

    name: str
    about: str
    root: Path
    """Its package."""
    flow: Path


def examples() -> list[Example]:
    """Return the shipped flows, by name."""
    import yaml

    found = []
    for package in sorted(Path(__file__).parent.glob("*/package.oo.yaml")):
        described = yaml.safe_load(package.read_text("utf-8"))
        name = described["name"]
        flow = package.parent / "flows" / name / "flow.oo.yaml"
        found.append(Example(name, described["description"], package.parent, flow))
    return found


def find(name: str) -> Path | None:
    """Return the flow file of a shipped flow, or None."""
    flow = Path(__file__).parent / name / "flows" / name / "flow.oo.yaml"
    return flow if name.isidentifier() and flow.is_file() else None
