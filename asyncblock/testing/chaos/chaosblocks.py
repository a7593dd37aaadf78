"""The blocks that chaos runs: a package written to disk, so that executors load it as they load anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

__all__ = ["write_package"]

_NUMBERED = '''
import asyncio
import os
import random


async def main(inputs, ctx):
    """Send numbers; note outside what was acknowledged."""
    note = os.open(os.path.join(inputs["notes"], f"{ctx.job_id}.{ctx.attempt}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(f"{ctx.job_id}.{ctx.attempt}")
    try:
        for number in range(inputs["count"]):
            text = "x" * (chance.choice((80_000, 200_000)) if chance.random() < inputs["large"] else 20)
            await ctx.output({"n": number, "text": text}, "out")
            if chance.random() < 0.1:
                await ctx.report_progress(100 * number / inputs["count"])
            if chance.random() < 0.05:
                await ctx.flush()
                os.write(note, b"%d\\n" % number)
                await asyncio.sleep(chance.random() * 0.05)
        await ctx.done()
        os.write(note, b"done %d\\n" % (inputs["count"] - 1))
    finally:
        os.close(note)
'''

_EACH = '''
import asyncio
import random


async def main(inputs, ctx):
    """Hand a number on."""
    await asyncio.sleep(random.random() * 0.01)
    return {"out": inputs["value"]["n"]}
'''


_FRAMES = '''
import array
import asyncio

try:
    import numpy
    import pandas
except ImportError:
    numpy = pandas = None


def made(ctx, number):
    """Return a value that is full of its number; the same in each run: a frame, an array, or one in shared memory."""
    if numpy is None:
        return array.array("d", [number]) * 20_000
    if number % 3 == 0:
        return pandas.DataFrame(numpy.full((5_000, 4), float(number)))
    if number % 3 == 1:
        return numpy.full(20_000, float(number))
    shared = ctx.empty(200_000)
    shared[:] = number
    return shared


async def main(inputs, ctx):
    """Put out numbered values, and change them afterwards."""
    for number in range(inputs["count"]):
        value = made(ctx, number)
        await ctx.output(value, "v")
        if numpy is not None and isinstance(value, numpy.ndarray):
            value[:] = -1
        if number % 5 == 0:
            await asyncio.sleep(0.01)
'''

_TAKE = '''
import asyncio
import random


async def main(inputs, ctx):
    """Say which number a value is full of, and spoil it for oneself."""
    value = inputs["v"]
    await asyncio.sleep(random.random() * 0.3)
    if hasattr(value, "to_numpy"):
        value = value.to_numpy(copy=True)
    numbers = set(value.ravel().tolist() if hasattr(value, "ravel") else value)
    if hasattr(value, "flags") and value.flags.writeable:
        value[:] = -2
    return {"n": sorted(numbers)}
'''


def _task(entry: str, inputs: list[str], retries: int, output: str = "out", *, var: bool = False) -> dict[str, Any]:
    schema = {"json_schema": {"contentMediaType": "oomol/var"}}
    return {
        "executor": {"name": "python", "options": {"entry": entry}},
        "inputs_def": [{"handle": handle, **(schema if handle == "v" else {})} for handle in inputs],
        "outputs_def": [{"handle": output, **(schema if var else {})}],
        "retries": {"retries": retries, "backoff": 0.1},
        **({"recompute": True} if var else {}),
    }


def write_package(root: Path) -> tuple[Path, Path, Path]:
    """Write the package; return the flow without consumers, the one whose consumer takes each number, and the one whose
    consumers take frames."""
    (root / "frames.py").write_text(_FRAMES)
    (root / "take.py").write_text(_TAKE)
    (root / "numbered.py").write_text(_NUMBERED)
    (root / "each.py").write_text(_EACH)
    (root / "package.oo.yaml").write_text("name: chaos\nversion: 1.0.0\n")
    names = ("notes", "count", "large")
    source = {
        "node_id": "source",
        "task": _task("../../numbered.py", list(names), 30),
        "inputs_from": [{"handle": name, "from_flow": [{"input_handle": name}]} for name in names],
    }
    each = {
        "node_id": "each",
        "task": _task("../../each.py", ["value"], 30),
        "inputs_from": [{"handle": "value", "from_node": [{"node_id": "source", "output_handle": "out"}]}],
        "concurrency": 4,
    }
    frames = {
        "node_id": "frames",
        "task": _task("../../frames.py", ["count"], 30, "v", var=True),
        "inputs_from": [{"handle": "count", "from_flow": [{"input_handle": "count"}]}],
    }
    take = {
        "node_id": "take",
        "task": _task("../../take.py", ["v"], 30, "n"),
        "inputs_from": [{"handle": "v", "from_node": [{"node_id": "frames", "output_handle": "v"}]}],
        "concurrency": 6,
    }
    inputs_def = [{"handle": name} for name in names]
    return (
        _write_flow(root / "flows" / "alone", {"inputs_def": inputs_def, "nodes": [source]}),
        _write_flow(root / "flows" / "consumed", {"inputs_def": inputs_def, "nodes": [source, each]}),
        _write_flow(root / "flows" / "frames", {"inputs_def": [{"handle": "count"}], "nodes": [frames, take]}),
    )


def _write_flow(directory: Path, flow: dict[str, Any]) -> Path:
    directory.mkdir(parents=True)
    path = directory / "flow.oo.yaml"
    # JSON is YAML.
    path.write_bytes(orjson.dumps(flow))
    return path
