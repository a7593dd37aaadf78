"""How much memory this host allows, how much of it var values may take, and how much of the disk."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

__all__ = ["DISK_SETTING", "EXECUTORS", "SETTING", "memory_limit", "var_budget", "var_disk_limit"]

SETTING: Final = "ASYNCBLOCK_VAR_MEMORY"
"""Bytes of var values on this host, shared by its executors; ``512M`` and ``2GiB`` say it too."""

DISK_SETTING: Final = "ASYNCBLOCK_VAR_DISK"
"""Bytes of var values on this host's disk that have no room in memory, shared likewise; 0 for none."""

EXECUTORS: Final = "ASYNCBLOCK_EXECUTORS"
"""How many executor processes share it, as the process that starts them says."""

_SHARE: Final = 4
"""The part of the memory that they may take by default: one in so many."""

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNLIMITED: Final = 1 << 60
"""From here on a limit of a cgroup is none."""


def memory_limit(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may have: the machine's, or less by its control groups."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        machine = 8 << 30
    return min([machine, *_limits(proc, groups)])


def _limits(proc: Path, groups: Path) -> Iterator[int]:
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        base, file = (groups, "memory.max") if not controllers else (groups / "memory", "memory.limit_in_bytes")
        place = base / name.lstrip("/")
        # What a group may have, its groups above bound too; in a container its own is at the top.
        for each in (place, *place.parents):
            if each != base and base not in each.parents:
                break
            try:
                text = (each / file).read_text().strip()
            except OSError:
                continue
            if text.isdecimal() and 0 < int(text) < _UNLIMITED:
                yield int(text)


def var_budget(environ: Mapping[str, str] = os.environ) -> int:
    """Return the bytes of var values that this process may hold. Raises ``ValueError`` for a setting of no size."""
    return _part(environ, SETTING, lambda: memory_limit() // _SHARE)


def var_disk_limit(environ: Mapping[str, str] = os.environ) -> int:
    """Return the bytes of var values that this process may put on the disk, by default as many as there are of memory.

    Raises ``ValueError`` for a setting of no size.
    """
    return _part(environ, DISK_SETTING, memory_limit)


def _part(environ: Mapping[str, str], setting: str, default: Callable[[], int]) -> int:
    given = environ.get(setting, "").strip()
    total = _parsed(given, setting) if given else default()
    count = environ.get(EXECUTORS, "1")
    return total // max(int(count) if count.isdecimal() else 1, 1)


def _parsed(text: str, setting: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", text.lower())
    if found is None:
        raise ValueError(f"{setting}={text!r} is no size: write bytes, or 512M, 2GiB")
    return int(float(found[1]) * _UNITS[found[2]])
