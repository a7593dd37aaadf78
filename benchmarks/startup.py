"""Startup: ``import asyncblock``, and ``asyncblock run`` of a flow with one node, from the shell's point of view."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "importing", "measure", "running"]

_FLOW = """nodes:
  - node_id: hello
    task:
      executor: {name: python, options: {entry: hello.py}}
      outputs_def: [{handle: word}]
outputs_from: [{handle: word, from_node: [{node_id: hello, output_handle: word}]}]
"""
_BLOCK = 'async def main(inputs, ctx):\n    return {"word": "hello"}\n'


def importing(module: str, times: int) -> dict[str, float]:
    """Measure an import in fresh processes; ms, the best of several, so that a cold disk doesn't count."""
    code = f"import time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1000)"
    found = [float(subprocess.run([sys.executable, "-c", code], capture_output=True).stdout) for _ in range(times)]
    return {"ms": min(found)}


def running() -> dict[str, float]:
    """Measure a whole run of a flow with one node; s."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as data:
        flow = Path(directory, "flow.oo.yaml")
        flow.write_text(_FLOW)
        Path(directory, "hello.py").write_text(_BLOCK)
        command = [sys.executable, "-m", "asyncblock", "run", str(flow), "--data-dir", data]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True)
        seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode() or "the run failed")
    return {"s": seconds}


def _importing(module: str, quick: bool, *, rival: bool = False) -> Subject:
    return Subject(module, "benchmarks.startup:importing", {"module": module, "times": 3 if quick else 10}, rival)


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    return [
        Case("import", _importing("asyncblock", quick), "ms", "ms"),
        Case("run", Subject("run", "benchmarks.startup:running", {}), "s", "s"),
    ]


def measure(quick: bool) -> Result:
    """Measure ours beside ``import asyncio``."""
    ours, run = (case.subject for case in cases(quick))
    subjects = [ours, _importing("asyncio", quick, rival=True), run]
    measured = measure_in_turns(subjects, 1 if quick else 5)
    figures = measured.figures
    return Result(
        name="startup",
        unit="(ms, s)",
        asyncblock={"import": figures["asyncblock"]["ms"], "run": figures["run"]["s"]},
        rivals={"import asyncio": {"import": figures["asyncio"]["ms"]}},
        must={"import": "<= 2x import asyncio", "run": "<= 1.5 s"},
        conditions={
            "run": "one node, one worker process, no terminal",
            "peak MB of the largest process": measured.peaks,
        },
    )
