"""``python -m benchmarks [NAME ...] [--json] [--quick] [--readme]``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import readme
from .report import QUICK, Result, from_json, rows, say, to_json
from .rounds import NotMeasured

__all__ = ["NAMES", "main"]

NAMES = ("throughput", "dispatch", "stall", "control", "latency", "memory", "scale", "startup", "flow")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures asyncblock beside its rivals, each in a process of its own, in one run.",
        epilog="Rivals come with the extra 'bench'; mosquitto and redis-server are Debian packages. "
        "What isn't there is named as not shown.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones: {', '.join(NAMES)} (default: list them)")
    parser.add_argument("--json", action="store_true", help="print one JSON line for each")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works, not for figures")
    parser.add_argument("--readme", action="store_true", help="measure all and write the table into README.md")
    parser.add_argument("--from", dest="lines", type=Path, metavar="FILE", help="with --readme: JSON lines of earlier")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(NAMES)}")
    if options.lines is not None:
        readme.write([from_json(line) for line in options.lines.read_bytes().splitlines()])
        return 0
    names = options.names or (list(NAMES) if options.readme else [])
    if not names:
        for name in NAMES:
            print(f"{name:<11} {_about(name)}")
        return 0
    results: list[Result] = []
    missed: dict[str, str] = {}
    for name in names:
        try:
            results.append(_measure(name, options.quick, options.json))
        except NotMeasured as problem:
            missed[name] = str(problem)
            say(f"{name} isn't measured: {problem}")
    if options.readme:
        readme.write(results, missed=missed)
    return 1 if missed else 0


def _about(name: str) -> str:
    text = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
    return text.partition("\n")[0].partition(": ")[2]


def _measure(name: str, quick: bool, json: bool) -> Result:
    say(f"== {name}")
    result: Result = importlib.import_module(f"benchmarks.{name}").measure(quick)
    if quick:
        result = replace(result, conditions={QUICK: True, **result.conditions})
    if json:
        print(to_json(result).decode(), flush=True)
    else:
        for row in rows(result):
            must = f" (to reach: {row.must})" if row.must else ""
            print(f"{row.what}: {row.ours}{must}" + (f"; {row.rivals}" if row.rivals else ""), flush=True)
        for rival, why in result.not_shown.items():
            print(f"{name}: {rival} not shown: {why}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
