"""``python -m asyncblock.testing.chaos --seconds S --seed N [--json]``: exit code 0 when every promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from ...client import connect
from ...workers import Workers
from ..proxy import FaultProxy
from .audit import Audit, audit
from .certificates import Certificates
from .chaosblocks import write_package
from .faults import FAULTS, faketime_library
from .storm import Storm
from .system import SERVE, ChaosSessions, Server, System, free_port

__all__ = ["main", "possible", "run"]

_END_TIMEOUT = 240.0
"""Seconds that sessions have to end when the storm is over; those that don't are hanging."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found."""

    seed: int
    audit: Audit
    faults: dict[str, int]
    """How often each kind came."""
    cuts: int
    finished: int
    flows: dict[str, int]
    """How many sessions of each flow have ended."""
    hanging: int
    failed: dict[str, str] = field(default_factory=dict)
    """Why sessions ended otherwise than they were to, by id."""

    @property
    def clean(self) -> bool:
        """Tell whether every promise was kept."""
        return self.audit.clean and not self.hanging and not self.failed

    def to_json(self) -> bytes:
        """Return the outcome as one line."""
        found = self.audit
        return orjson.dumps(
            {
                "outputs": found.journaled,
                "acked": found.acked,
                "journaled": found.journaled,
                "effects": found.effects,
                "lost": found.lost + found.damaged + found.unfounded,
                "duplicated": found.duplicated + found.mixed + found.repeated,
                "reordered": found.reordered + found.missed,
                "frames": found.frames,
                "wrong": found.wrong,
                "swapped": found.swapped,
                "moved": found.moved,
                "made_again": found.made_again,
                "faults": self.faults,
                "kills": sum(self.faults.get(kind, 0) for kind in ("mainframe", "executor", "child", "oom")),
                "cuts": self.cuts,
                "sessions_finished": self.finished,
                "sessions_by_flow": self.flows,
                "sessions_failed": len(self.failed),
                "sessions_hanging": self.hanging,
                "seed": self.seed,
            }
        )


def possible() -> list[str]:
    """Return the kinds of faults that this machine allows."""
    return [name for name, fault in FAULTS.items() if fault.missing() is None]


async def run(
    directory: Path,
    seconds: float,
    seed: int,
    faults: Sequence[str] | None = None,
    serve: Sequence[str] = SERVE,
    end_timeout: float = _END_TIMEOUT,
) -> Outcome:
    """Run the system under chaos in a directory, and audit it. ``faults`` are the kinds, ``serve`` is the mainframe.

    **Cancellation** ends everything that was started.
    """
    kinds = possible() if faults is None else list(faults)
    package, notes, effects = directory / "package", directory / "notes", directory / "effects"
    for place in (package, notes, effects):
        place.mkdir()
    flows = write_package(package)
    clock = directory / "clock of the mainframe"
    certificates = Certificates(directory / "certificates", faketime_library()) if "certificate" in kinds else None
    scheme, options, authority = "ws", [], None
    if certificates is not None:
        scheme, authority = "wss", str(certificates.authority)
        options = ["--tls-cert", str(certificates.served), "--tls-key", str(certificates.key)]
    environment = _faked(clock) if "clock" in kinds else {}
    async with (
        Server(directory / "data", free_port(), directory / "mainframe.log", [*serve, *options], environment) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        Workers(
            f"{scheme}://127.0.0.1:{proxy.port}", server.token, 2, [package], grace=5.0, ca_file=authority
        ) as workers,
        connect(
            f"{scheme}://127.0.0.1:{proxy.port}",
            server.token,
            tls=None if certificates is None else certificates.client(),
        ) as mainframe,
    ):
        sessions = ChaosSessions(mainframe, flows, notes, effects, seed)
        system = System(server, proxy, workers, sessions, clock, certificates)
        storm = Storm(seed, system, kinds)
        try:
            async with asyncio.timeout(seconds + end_timeout):
                async with sessions.going_on(4):
                    await _rage(storm, seconds)
        except TimeoutError:
            pass
        finally:
            await system.close()
    found = await audit(directory / "data", notes, sessions.seen, effects)
    return Outcome(
        seed,
        found,
        dict(storm.done),
        proxy.cuts,
        len(sessions.finished),
        dict(sessions.kinds),
        len(sessions.hanging()),
        sessions.failed,
    )


def _faked(clock: Path) -> dict[str, str]:
    """Return the environment of a process that takes its time from a file.

    The mainframe's alone: where blocks sleep, CPython (3.11 and later) waits until a time of the monotonic clock, which
    libfaketime 0.9.10 shifts though it is told not to, so that ``time.sleep`` raises EINVAL.
    """
    clock.write_text("+0\n")
    return {
        "LD_PRELOAD": str(faketime_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        # What measures time goes on as it does when a clock is set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


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
    kinds = "\n".join(f"  {name:12} {fault.what}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m asyncblock.testing.chaos",
        description="Harms a whole system at random, then compares what blocks were told is stored, and what they did, "
        "with what the journal and the observers hold. Exit code 0: every promise was kept; 1: not.",
        epilog=f"kinds of faults:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm goes on (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="which storm (default: a new one, printed)")
    parser.add_argument("--faults", default=None, help="kinds, separated by commas (default: all that can be had here)")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON line and nothing else")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    faults = _chosen(parser, options.faults)
    if not options.json:
        print(f"seed {seed}, {options.seconds:g} s", flush=True)
        for name in FAULTS.keys() - set(faults) if options.faults is None else ():
            print(f"without {name}: {FAULTS[name].missing()}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="asyncblock-chaos-"))
    outcome = asyncio.run(run(directory, options.seconds, seed, faults))
    print(outcome.to_json().decode(), flush=True)
    if outcome.clean:
        shutil.rmtree(directory)
        return 0
    for words in [*outcome.audit.words[:50], *list(outcome.failed.values())[:20]]:
        print(words, file=sys.stderr)
    print(f"journal, notes and logs are in {directory}", file=sys.stderr)
    return 1


def _chosen(parser: argparse.ArgumentParser, given: str | None) -> list[str]:
    if given is None:
        return possible()
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in FAULTS:
            parser.error(f"there is no kind of fault {name!r}; there are {', '.join(FAULTS)}")
        if (lack := FAULTS[name].missing()) is not None:
            parser.error(f"{name}: {lack}")
    return names


if __name__ == "__main__":
    sys.exit(main())
