"""Crash points: a child process that kills itself with SIGKILL at a named point of a mainframe or an executor."""

from __future__ import annotations

from pathlib import Path

from ..runtime.crashpoints import NAMES, VARIABLE

__all__ = ["crash_at"]


def crash_at(point: str, nth: int = 1, *, once: Path | None = None) -> dict[str, str]:
    """Return the environment that makes a child process die when it reaches a point for the ``nth`` time.

    ``once`` is a file that doesn't exist: whoever dies makes it, and those who have the same environment live on. An
    executor process has that of the process that it replaces.

    ::

        subprocess.Popen(["asyncblock", "serve"], env={**os.environ, **crash_at("after_commit", 3)})

    Raises ``ValueError`` for a point that doesn't exist.
    """
    if point not in NAMES:
        raise ValueError(f"there is no crash point {point!r}; there are {', '.join(sorted(NAMES))}")
    return {VARIABLE: f"{point}:{nth}:{once or ''}"}
