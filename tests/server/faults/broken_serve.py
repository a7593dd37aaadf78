"""The command, with a defect: the mainframe fails at what follows the first commit of a session."""

from __future__ import annotations

from asyncblock.cli import main
from asyncblock.server.livesessions.session import RunningSession


def _fails(self: RunningSession) -> None:
    raise RuntimeError("a defect")


if __name__ == "__main__":
    setattr(RunningSession, "row_stored", _fails)  # noqa: B010  # not an override: the defect
    main()
