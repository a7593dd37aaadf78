"""``python -m asyncblock.testing.chaos --seconds S --seed N [--json]``: exit code 0 when every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from ...client import connect
from ...workers import Workers
from ..proxy import FaultProxy
from .audit import Audit, audit
from .chaosblocks import write_package
from .storm import Storm
from .system import ChaosSessions, Server, free_port, kill_one

__all__ = ["main", "run"]

_END_TIMEOUT = 120.0
"""Seconds that sessions have to end when the storm is over; those that don't are hanging."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    seed: int
    audit: Audit
    kills: int
    cuts: int
    finished: int
    hanging: int

    @property
    def clean(self) -> bool:
        """Tell whether every promise was kept."""
        return self.audit.clean and not self.hanging

    def to_json(self) -> bytes:
        """Return the outcome as one line."""
        found = self.audit
        return orjson.dumps(
            {
                "outputs": found.journaled,
                "acked": found.acked,
                "journaled": found.journaled,
                "lost": found.lost + found.damaged,
                "duplicated": found.duplicated + found.mixed,
                "reordered": found.reordered + found.missed,
                "frames": found.frames,
                "wrong": found.wrong,
                "moved": found.moved,
                "made_again": found.made_again,
                "kills": self.kills,
                "cuts": self.cuts,
                "sessions_finished": self.finished,
                "sessions_hanging": self.hanging,
                "sessions_failed": sum(state not in ("running", "succeeded") for state in found.sessions.values()),
                "seed": self.seed,
            }
        )


async def run(directory: Path, seconds: float, seed: int) -> Outcome:
    """Run the system under chaos in a directory, and audit it.

    **Cancellation** ends everything that was started.
    """
    package, notes = directory / "package", directory / "notes"
    package.mkdir()
    notes.mkdir()
    flows = write_package(package)
    async with (
        Server(directory / "data", free_port(), directory / "mainframe.log") as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        Workers(f"ws://127.0.0.1:{proxy.port}", server.token, 2, [package], grace=5.0) as workers,
        connect(f"ws://127.0.0.1:{proxy.port}", server.token) as mainframe,
    ):
        sessions = ChaosSessions(mainframe, flows, notes, seed)
        storm = Storm(seed, proxy, server.kill, lambda chance: kill_one(workers, chance))
        try:
            async with asyncio.timeout(seconds + _END_TIMEOUT):
                async with sessions.going_on(4):
                    await _rage(storm, seconds)
        except TimeoutError:
            pass
    found = await audit(directory / "data", notes, sessions.seen)
    return Outcome(seed, found, storm.kills, proxy.cuts, len(sessions.finished), len(sessions.hanging()))


async def _rage(storm: Storm, seconds: float) -> None:
    raging = asyncio.create_task(storm.rage())
    try:
        await asyncio.wait([raging], timeout=seconds)
    finally:
        raging.cancel()
        await asyncio.wait([raging])
    if not raging.cancelled() and (error := raging.exception()) is not None:
        raise error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m asyncblock.testing.chaos",
        description="Kills and cuts a whole system at random, then compares what blocks were told is stored with "
        "what the journal and the observers hold. Exit code 0: every promise was kept; 1: not.",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm goes on (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="which storm (default: a new one, printed)")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON line and nothing else")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    if not options.json:
        print(f"seed {seed}, {options.seconds:g} s", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="asyncblock-chaos-"))
    outcome = asyncio.run(run(directory, options.seconds, seed))
    print(outcome.to_json().decode(), flush=True)
    if outcome.clean:
        shutil.rmtree(directory)
        return 0
    for words in outcome.audit.words[:50]:
        print(words, file=sys.stderr)
    print(f"journal, notes and logs are in {directory}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
