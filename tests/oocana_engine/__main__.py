"""``python -m tests.oocana_engine --engine PATH``: flows on the real engine, with either executor, and on ours."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..bridge import PROGRAM, mosquitto
from . import hops
from .seen import differences
from .sides import Ears, EngineSide, OurSide, Side, ears
from .table import SEARCHED, copied, expected_of, unlike

__all__ = ["main"]

_DESCRIPTION = """\
Runs flows on the real oocana engine, through a mosquitto of their own: with the existing executor (--theirs) and with
ours in its place. Says for each flow and side whether it was the same.

Without --flows: the table in tests/oocana_flows, against what it expects of the engine (jobs, inputs, outputs).
With --flows DIR: each DIR/*/flow.oo.yaml, unchanged. The engine with the existing executor is what the others are
compared with: the engine with ours (jobs, inputs, outputs, failures), and 'asyncblock run --compat oocana' (the same,
but for inputs and what subflows put out, which its events don't tell). Blocks need what they import in both
environments.
"""

_EPILOG = """\
Exit codes: 0 everything the same, 1 something differs, 2 bad usage. Programs:
  the engine    cargo build -p oocana, in the engine's sources (0.31.3)
  --theirs      python-executor of an environment of its own, with oocana-python-executor 0.16.18 from PyPI
  mosquitto     a Debian package

  python -m tests.oocana_engine --engine .../oocana --theirs .../bin/python-executor
  python -m tests.oocana_engine --engine .../oocana --theirs ... --flows examples/flows --search examples/packages
  python -m tests.oocana_engine --engine .../oocana --theirs ... --hops 100     p50 of a chained job
"""

_MORE_TRIES = 6
"""Further runs of a flow whose executor isn't ready in time, as on a busy machine, or waits for ever in run_block, as the
existing one does in every second run."""

_MORE_RUNS = 4
"""Further runs of the existing executor of which one may be the same: a block that depends on the order of its inputs
puts out other things each time."""


@dataclass(slots=True)
class _Rows:
    """What differs, and how many were compared."""

    compared: int = 0
    different: list[str] = field(default_factory=list)

    def say(self, flow: str, side: str, said: list[str]) -> None:
        self.compared += 1
        print(f"{flow:30} {side:24} {'different' if said else 'same'}", flush=True)
        for each in said:
            print(f"{'':30}   {each}", flush=True)
        if said:
            self.different.append(f"{flow} ({side})")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.oocana_engine",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", metavar="PATH", type=_program, required=True, help="the engine's program")
    parser.add_argument("--theirs", metavar="PATH", type=_program, help="the existing executor's program")
    parser.add_argument("--flows", metavar="DIR", type=_directory, help="a directory of flows, instead of the table")
    parser.add_argument(
        "--search", metavar="DIR", type=_directory, action="append", default=[], help="where packages are; repeatable"
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="this flow only; repeatable")
    parser.add_argument("--hops", metavar="COUNT", type=int, help="measure so many chained jobs with each executor")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=60.0, help="for each run (default: 60)")
    found = parser.parse_args(words)
    if PROGRAM is None:
        parser.error("needs mosquitto, a Debian package: it isn't on PATH or in /usr/sbin")
    if found.flows is not None and found.theirs is None:
        parser.error("--flows compares with the existing executor: say where it is with --theirs")
    if found.hops is not None and not 2 <= found.hops <= 1000:
        parser.error("--hops takes 2 to 1000 jobs")
    return found


def _program(word: str) -> Path:
    found = shutil.which(word)
    if found is None:
        raise argparse.ArgumentTypeError(f"{word!r} is no program")
    return Path(found).absolute()


def _directory(word: str) -> Path:
    if not Path(word).is_dir():
        raise argparse.ArgumentTypeError(f"{word!r} is no directory")
    return Path(word).absolute()


async def _main(options: argparse.Namespace) -> int:
    async with AsyncExitStack() as stack:
        work = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="oocana-engine-", ignore_cleanup_errors=True))
        )
        broker = await stack.enter_async_context(mosquitto(work))
        listening = await stack.enter_async_context(ears(broker.port))
        programs = {} if options.theirs is None else {"theirs": [str(options.theirs)]}
        programs["ours"] = [sys.executable, "-c", "from asyncblock.bridge.command import main; main()"]
        if options.hops is not None:
            return await hops.measure(options.engine, programs, listening, work, options.hops)
        return await _compare(options, programs, listening, work)


async def _compare(options: argparse.Namespace, programs: dict[str, list[str]], heard: Ears, work: Path) -> int:
    sides: dict[str, Side] = {}
    for name, program in programs.items():
        place = executor(work / f"bin-{name}", program)
        sides[name] = EngineSide(f"engine with {name}", heard, work / "home", engine=options.engine, executor=place)
    rows = _Rows()
    if options.flows is None:
        flows = copied(work / "package")
        search = [work / "package" / "blocks", *SEARCHED]
    else:
        flows = sorted(path.parent for path in options.flows.glob("*/flow.oo.yaml"))
        search = []
        sides["asyncblock"] = OurSide("asyncblock run", heard, work / "home")
    if options.only is not None:
        flows = [each for each in flows if each.name in options.only]
    for side in sides.values():
        side.search, side.timeout = [*search, *options.search], options.timeout
        side.more_tries = _MORE_TRIES
        (side.home / "state").mkdir(parents=True, exist_ok=True)
    for flow in flows:
        if options.flows is None:
            await _expected(flow, sides, rows)
        else:
            await _beside(flow, sides, rows)
    print(f"{rows.compared - len(rows.different)} of {rows.compared} the same")
    if rows.different:
        print(f"different: {', '.join(rows.different)}")
    return 1 if rows.different or not rows.compared else 0


async def _expected(flow: Path, sides: dict[str, Side], rows: _Rows) -> None:
    for side in sides.values():
        run = await side.run(flow)
        said = unlike(expected_of(flow), run.seen)
        rows.say(flow.name, side.name, said + _end(run.last_words, run.code if said else 0))


async def _beside(flow: Path, sides: dict[str, Side], rows: _Rows) -> None:
    """Compare with the engine's run; with further ones where it differs, for the engine gives inputs in any order."""
    theirs = [await sides["theirs"].run(flow)]
    if not theirs[0].seen.ended:
        rows.say(flow.name, sides["theirs"].name, ["it has no end", *_end(theirs[0].last_words, theirs[0].code)])
    for name in ("ours", "asyncblock"):
        run = await sides[name].run(flow)
        said = differences(theirs[0].seen, run.seen, whole=name == "ours")
        for number in range(1, _MORE_RUNS + 1):
            if not said:
                break
            if len(theirs) == number:
                theirs.append(await sides["theirs"].run(flow))
            if not differences(theirs[number].seen, run.seen, whole=name == "ours"):
                said = []
        rows.say(flow.name, sides[name].name, said + _end(run.last_words, run.code if said else 0))


def _end(last_words: str, code: int) -> list[str]:
    return [] if code == 0 else [f"exit code {code}: {last_words.strip().rpartition(chr(10))[2][:300]}"]


def executor(place: Path, program: Sequence[str]) -> Path:
    """Make a directory in which ``python-executor`` is a program."""
    place.mkdir()
    script = place / "python-executor"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
    script.chmod(0o755)
    return place


def main(words: Sequence[str] | None = None) -> None:
    """Run the command."""
    try:
        raise SystemExit(asyncio.run(_main(_arguments(words))))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
