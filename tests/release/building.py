"""Building the project, and reading what was built."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

__all__ = ["PACKAGES", "build", "in_wheel", "metadata"]

PACKAGES = ("asyncblock", "blocks_of")


def build(source: Path, place: Path) -> tuple[Path, Path]:
    """Build a source tree, and return the wheel and the source distribution."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(place)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel], [sdist] = place.glob("*.whl"), place.glob("*.tar.gz")
    return wheel, sdist


def in_wheel(wheel: Path) -> set[str]:
    """Return the names of a wheel's files."""
    return set(zipfile.ZipFile(wheel).namelist())


def metadata(wheel: Path) -> Message:
    """Return what a wheel says of itself."""
    [name] = [each for each in in_wheel(wheel) if each.endswith(".dist-info/METADATA")]
    return message_from_bytes(zipfile.ZipFile(wheel).read(name))
