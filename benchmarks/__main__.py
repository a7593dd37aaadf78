"""``python -m benchmarks [NAME ...] [--json] [--quick] [--readme] [--against REF ...]``."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import against, history, readme
from .against import Limits, Sides
from .builds import BuildError, cache_directory
from .paired import FEWEST
from .report import QUICK, Result, from_json, rows, say, to_json
from .rounds import Case, NotMeasured

__all__ = ["NAMES", "main"]

NAMES = (
    "throughput",
    "dispatch",
    "stall",
    "control",
    "latency",
    "memory",
    "scale",
    "startup",
    "flow",
    "frames",
    "page",
)

_FULL = ("page",)
"""Those that have a larger size than their usual one."""

_DESCRIPTION = "Measures asyncblock beside its rivals, each in a process of its own, in one run."

_EPILOG = f"""\
Rivals come with the extra 'bench'; mosquitto and redis-server are Debian packages. The existing executor runs under its
engine: OOCANA_ENGINE and OOCANA_EXECUTOR (its python-executor, in an environment of its own) say where they are. What
isn't there is named as not shown.

Beside another commit (--against REF):
  REF (a commit, tag or branch of this repository) and the working tree, with what isn't committed yet, are each built
  in a virtual environment of their own, with the same versions of libraries where their requirements allow it. Builds
  are kept ({cache_directory()}), so that the next run begins at once. Today's benchmark
  files run on both. Each round measures both, REF first in one and last in the next; rivals are measured as always,
  before the rounds, or not at all (--ours).

  The ratio says how many times as good ours is: above 1 it is better, more of a rate or less of a time or of memory.
  The interval holds the true ratio with 95 % (Hodges-Lehmann, Wilcoxon's signed ranks: benchmarks/paired.py says why).
  Rounds go on until it reaches no further than --within from the ratio, or until --rounds or --seconds are over: then
  the interval is wider, and the line says so. {FEWEST} rounds are always measured: fewer have no 95 % interval.
  Where others use the machine, too, intervals are wide: half the width takes four times as many rounds.
  What REF can't run, because it doesn't have a name that a benchmark uses, is named as not shown.

  python -m benchmarks throughput dispatch latency --ours --against main     did my change slow anything?
  python -m benchmarks stall --case figure --ours --against HEAD~3           some cases only
  python -m benchmarks latency --ours --against HEAD~1 --history             note what the last commit changed
"""


@dataclass(slots=True)
class _Run:
    """What is measured, how, and what came of it."""

    options: argparse.Namespace
    both: Sides | None = None
    results: list[Result] = field(default_factory=list)
    missed: dict[str, str] = field(default_factory=dict)

    def measure(self, name: str) -> None:
        """Measure one benchmark."""
        say(f"== {name}")
        module, quick = _module(name), self.options.quick
        try:
            how = {"full": True} if self.options.full and name in _FULL else {}
            result = Result(name, "", {}) if self.options.ours else module.measure(quick, **how)
            if self.both is not None:
                result = self._compare(result, module, self.both)
        except NotMeasured as problem:
            self.missed[name] = str(problem)
            say(f"{name} isn't measured: {problem}")
            return
        if quick:
            result = replace(result, conditions={QUICK: True, **result.conditions})
        self.results.append(result)
        _show(result, self.options.json)

    def _compare(self, result: Result, module: ModuleType, both: Sides) -> Result:
        options = self.options
        cases = _chosen(module, options)
        limits = Limits(options.within, FEWEST if options.quick else options.rounds, options.seconds)
        compared = against.compare(result.name, cases, both, limits)
        if compared.broken:
            self.missed[result.name] = "; ".join(f"{case} {why}".strip() for case, why in compared.broken.items())
        missing = {f"{both.ref} {case}".strip(): why for case, why in {**compared.missing, **compared.broken}.items()}
        if self.options.ours:
            result = replace(result, **_as_measured(cases, compared.ours))
        return replace(result, against=compared.against, not_shown={**result.not_shown, **missing})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check(parser, options)
    if options.lines is not None:
        readme.write([from_json(line) for line in options.lines.read_bytes().splitlines()])
        return 0
    names = options.names or (list(NAMES) if options.readme else [])
    if not names:
        for name in NAMES:
            print(f"{name:<11} {_about(name)}")
        return 0
    run = _Run(options)
    with ExitStack() as stack:
        commit = ""
        if options.against:
            try:
                commit = history.landed() if options.history else ""
                extras = {extra for name in names for extra in getattr(_module(name), "EXTRAS", ())}
                also = {each for name in names for each in getattr(_module(name), "REQUIREMENTS", ())}
                run.both = stack.enter_context(against.sides(options.against, sorted(extras), also=sorted(also)))
            except BuildError as problem:
                parser.error(str(problem))
        for name in names:
            if not options.against or _chosen(_module(name), options):
                run.measure(name)
    if options.readme:
        readme.write(run.results, missed=run.missed)
    if options.history:
        changed = history.append(run.results, commit)
        say(f"{history.HISTORY.name}: {', '.join(changed) if changed else 'no figure has changed, no line added'}")
    return 1 if run.missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)} (default: list them)")
    parser.add_argument("--json", action="store_true", help="print one JSON line for each")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works, not for figures")
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"{', '.join(_FULL)}: at the size of what is to be reached, which takes minutes",
    )
    parser.add_argument(
        "--readme",
        action="store_true",
        help="measure all, or those that are named, and write their rows into README.md",
    )
    parser.add_argument("--from", dest="lines", type=Path, metavar="FILE", help="with --readme: JSON lines of earlier")
    usual = Limits()
    paired = parser.add_argument_group("beside another commit")
    paired.add_argument("--against", metavar="REF", help="measure ours and REF's build in paired rounds")
    paired.add_argument("--ours", action="store_true", help="the paired rounds only: no rivals")
    paired.add_argument(
        "--case", action="append", metavar="TEXT", help="only cases with this in their name; repeatable"
    )
    paired.add_argument(
        "--within",
        type=_part,
        metavar="PART",
        default=usual.within,
        help=f"how far the 95 %% interval may reach from the ratio (default {usual.within:.0%})".replace("2%)", "2%%)"),
    )
    paired.add_argument(
        "--rounds",
        type=_positive,
        metavar="N",
        default=usual.rounds,
        help=f"rounds at most (default {usual.rounds}, at least {FEWEST})",
    )
    paired.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        default=usual.seconds,
        help=f"begin no round of a benchmark after so many (default {usual.seconds:g}), but for its first {FEWEST}",
    )
    paired.add_argument(
        "--history",
        action="store_true",
        help=f"append a line to benchmarks/{history.HISTORY.name} for each figure whose interval doesn't hold 1: the "
        "commit, REF's, the ratio, and what the machine was like",
    )
    return parser


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(NAMES)}")
    if options.against is None and (options.ours or options.case or options.history):
        parser.error("--ours, --case and --history belong to --against REF")
    wanted = set(options.names or (NAMES if options.readme else ()))
    if options.full and (options.quick or options.against is not None or not wanted & set(_FULL)):
        parser.error(f"--full is for a whole measurement of {', '.join(_FULL)}, without --quick and --against")
    if options.against is not None and not (options.names or options.readme):
        parser.error("--against needs to know which benchmarks: name some")
    if options.history and (options.quick or options.readme):
        parser.error("--history notes figures: not those of --quick; and --readme is a run of its own")
    if options.case and not any(_chosen(_module(name), options) for name in options.names or NAMES):
        known = sorted({case.name for name in options.names or NAMES for case in _cases(name, options.quick)} - {""})
        parser.error(f"no case has {' or '.join(map(repr, options.case))} in its name; there are {', '.join(known)}")


def _part(text: str) -> float:
    part = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    if not 0 < part < 1:
        raise ValueError
    return part


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def _cases(name: str, quick: bool) -> list[Case]:
    cases: list[Case] = _module(name).cases(quick)
    return cases


def _chosen(module: ModuleType, options: argparse.Namespace) -> list[Case]:
    cases: list[Case] = module.cases(options.quick)
    return [case for case in cases if not options.case or any(text in case.name for text in options.case)]


def _about(name: str) -> str:
    return (_module(name).__doc__ or "").partition("\n")[0].partition(": ")[2]


def _as_measured(cases: Sequence[Case], figures: Mapping[str, float]) -> dict[str, Any]:
    """Return the unit and the figures of a result that only paired rounds have made."""
    units = [case.unit for case in cases if case.name in figures]
    if set(figures) == {""}:
        return {"unit": units[0], "asyncblock": figures[""]}
    return {"unit": f"({', '.join(units)})" if units else "", "asyncblock": figures}


def _show(result: Result, json: bool) -> None:
    if json:
        print(to_json(result).decode(), flush=True)
        return
    for row in rows(result):
        must = f" (to reach: {row.must})" if row.must else ""
        beside = "".join(f"; {text}" for text in (row.rivals, row.against) if text)
        print(f"{row.what}: {row.ours}{must}{beside}", flush=True)
    for rival, why in result.not_shown.items():
        print(f"{result.name}: {rival} not shown: {why}", flush=True)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    # As with Ctrl-C, what is being measured and its directories go with this process.
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
