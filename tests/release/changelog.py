"""The changelog: what stands in it of the next release, in fragments, and how a release takes them up."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from .names import ROOT

__all__ = ["changes", "collect", "faults", "fragments", "unreleased"]

CATEGORIES: tuple[str, ...] = tuple(
    tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["scriv"]["categories"]
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_UNRELEASED = re.compile(r"^## Unreleased\n(.*?)(?=^## |^<a id|\Z)", re.DOTALL | re.MULTILINE)


def fragments(root: Path = ROOT) -> list[Path]:
    """Return the files that tell of changes since the last release."""
    return sorted((root / "changelog.d").glob("*.md"))


def unreleased(root: Path = ROOT) -> str:
    """Return all that is said of the next release: in fragments, and in the changelog's own section."""
    said = _UNRELEASED.search((root / "CHANGELOG.md").read_text("utf-8"))
    texts = [path.read_text("utf-8") for path in fragments(root)]
    return "\n".join([*([said[1]] if said else []), *texts])


def changes(text: str) -> str:
    """Return what of it is for those who use what there was: the sections of what is gone, going, or otherwise."""
    parts = re.split(r"^### (.*)$", text, flags=re.MULTILINE)
    kinds = ("Removed", "Deprecated", "Changed")
    return "\n".join(content for name, content in zip(parts[1::2], parts[2::2], strict=True) if name in kinds)


def faults(text: str) -> list[str]:
    """Return what of a fragment no changelog could take: it is sections of known names, each with items."""
    sections = re.split(r"^(#.*)$", _COMMENT.sub("", text), flags=re.MULTILINE)
    found = []
    if sections[0].strip():
        found.append(f"stands before any section: {sections[0].strip()!r}")
    for heading, content in zip(sections[1::2], sections[2::2], strict=True):
        if heading not in [f"### {name}" for name in CATEGORIES]:
            found.append(f"{heading!r} is none of {', '.join(CATEGORIES)}, each behind ###")
        items = content.strip().splitlines()
        if not items or not all(line == "" or line.startswith(("- ", "  ")) for line in items):
            found.append(f"{heading!r} has what is no item behind '- '")
    return found or (["says nothing"] if len(sections) == 1 else [])


def collect(version: str, root: Path = ROOT) -> None:
    """Put fragments, and what stood under Unreleased, into the changelog as the section of a release."""
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text("utf-8")
    if said := _UNRELEASED.search(text):
        first = root / "changelog.d" / "00000000_before.md"
        first.write_text(said[1], "utf-8")
        changelog.write_text(text[: said.start()] + text[said.end() :], "utf-8")
    command = [sys.executable, "-m", "scriv", "collect", "--version", version]
    subprocess.run(command, cwd=root, check=True)
