"""Words for times, sizes and states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

__all__ = ["PHASES", "clock", "date", "duration", "many", "size"]

PHASES: Final = {
    "value": "waiting for a value",
    "queue": "waiting for an executor",
    "start": "starting up",
    "work": "working",
    "pause": "pause before a retry",
}


def duration(ms: int) -> str:
    """Say how long something took."""
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {int(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock(ms: int) -> str:
    """Say how long after the beginning something was."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    if minutes:
        return f"{minutes}:{seconds:02}"
    return f"{seconds}.{rest:03}".rstrip("0").rstrip(".") + " s"


def date(ms: int) -> str:
    """Say when something was, in UTC."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"


def size(count: int) -> str:
    """Say how many bytes something has."""
    if count < 1000:
        return f"{count} bytes"
    for unit in ("kB", "MB"):
        count_of = count / (1000 if unit == "kB" else 1_000_000)
        if count_of < 1000:
            return f"{count_of:.1f} {unit}"
    return f"{count / 1e9:.1f} GB"


def many(count: int, one: str) -> str:
    """Say how many there are of something."""
    return f"{count:,} {one if count == 1 else one + 's'}"
