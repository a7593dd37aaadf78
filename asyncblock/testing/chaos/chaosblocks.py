"""The blocks that chaos runs: a package written to disk, so that executors load it as they load anybody's.

Nearly everything begins with ``source``, which sends numbered values; each value says whose it is. What takes one
(plainly, in a process of its own, in a service, by asking for another block, as bytes) has an effect outside: it writes
down, in a file that its attempt alone writes, what it got. In the flow ``frames`` another one puts out var values, each
full of its number, and those who take them say which one they found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

__all__ = ["CONSUMERS", "FLOWS", "write_package"]

CONSUMERS = ("each", "own", "call", "asks")
"""Nodes that take the values of ``source``, one each."""

FLOWS = {
    "alone": ((), (200, 3000), 3),
    "consumed": (("each",), (20, 80), 3),
    "mixed": (("call", "asks", "bins"), (10, 40), 2),
    "spawned": (("own",), (2, 6), 1),
    "frames": (("take",), (20, 80), 3),
    "waiting": (("stays",), (10_000, 10_001), 0),
}
"""By name: who takes the values, how many there are (from, to), and how often the flow is among those that go on."""

_EFFECT = '''
import asyncio
import json
import os
import random
import zlib


def effect(directory, ctx, **what):
    """Have an effect that can't be taken back: a line in a file of this attempt's, written at once."""
    place = os.path.join(directory, f"{ctx.job_id}.{ctx.attempt}")
    file = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, json.dumps({"job": ctx.job_id, "attempt": ctx.attempt, **what}).encode() + b"\\n")
    finally:
        os.close(file)


def checksum(job, attempt, number, text):
    return zlib.crc32(f"{job}.{attempt}.{number}.{text}".encode())


def took(value, ctx):
    right = value["sum"] == checksum(value["job"], value["attempt"], value["n"], value["text"])
    effect(value["effects"], ctx, source=value["job"], of=value["attempt"], n=value["n"], right=right)
'''

_SOURCE = '''
async def main(inputs, ctx):
    """Send numbers; note outside what was acknowledged."""
    note = os.open(os.path.join(inputs["notes"], f"{ctx.job_id}.{ctx.attempt}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance = random.Random(f"{ctx.job_id}.{ctx.attempt}")
    about = {"job": ctx.job_id, "attempt": ctx.attempt, "effects": inputs["effects"]}
    try:
        for number in range(inputs["count"]):
            text = "x" * (chance.choice((80_000, 200_000)) if chance.random() < inputs["large"] else 20)
            value = {"n": number, "text": text, "sum": checksum(ctx.job_id, ctx.attempt, number, text), **about}
            await ctx.output(value, "out")
            if inputs["bins"]:
                await ctx.output(json.dumps(value).encode(), "bin")
            if chance.random() < 0.1:
                await ctx.report_progress(100 * number / inputs["count"])
            if chance.random() < 0.02:
                await ctx.preview({"type": "markdown", "data": f"**{number}**"})
            if chance.random() < inputs["figures"]:
                await ctx.preview(figure(number))
            if chance.random() < (0.05 if inputs["count"] < 5000 else 0.001):
                await ctx.flush()
                os.write(note, b"%d\\n" % number)
                await asyncio.sleep(chance.random() * 0.05)
        await ctx.done()
        os.write(note, b"done %d\\n" % (inputs["count"] - 1))
    finally:
        os.close(note)


def figure(number):
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(2, 2))
    drawn.subplots().plot(range(number + 1))
    return drawn
'''

_EACH = '''
async def main(inputs, ctx):
    """Hand a number on."""
    took(inputs["value"], ctx)
    await asyncio.sleep(random.random() * 0.01)
    return {"out": inputs["value"]["n"]}
'''

_ASKS = '''
async def main(inputs, ctx):
    """Let another block hand the number on."""
    took(inputs["value"], ctx)
    job = await ctx.run_block("self::each", inputs={"value": inputs["value"]})
    outputs = (await job)["out"]
    if outputs != inputs["value"]["n"]:
        raise RuntimeError(f"asked for {inputs['value']['n']}, got {outputs}")
    return {"out": outputs}
'''

_BINS = '''
async def main(inputs, ctx):
    """Take bytes."""
    value = json.loads(bytes(inputs["value"]))
    took(value, ctx)
    return {"out": value["n"]}
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

_STAYS = '''
async def main(inputs, ctx):
    """Stay until cancelled."""
    await asyncio.Event().wait()
'''

_SERVICE = """
async def main(service):
    calls = 0

    async def call(inputs, ctx):
        nonlocal calls
        calls += 1
        took(inputs["value"], ctx)
        return {"out": inputs["value"]["n"]}

    service.block_handler = {"call": call}
"""

_INPUTS = ("notes", "effects", "count", "large", "bins", "figures")
_RETRIES = {"retries": 60, "backoff": 0.1}
_BYTES = {"json_schema": {"contentMediaType": "oomol/bin"}}
_VAR = {"json_schema": {"contentMediaType": "oomol/var"}}


def write_package(root: Path) -> dict[str, Path]:
    """Write the package; return its flows by name."""
    _write_json(root / "package.oo.yaml", {"name": "chaos", "version": "1.0.0"})
    for name, source in (("source", _SOURCE), ("asks", _ASKS), ("bins", _BINS), ("stays", _STAYS)):
        _write(root / f"{name}.py", _EFFECT + source)
    _write(root / "frames.py", _FRAMES)
    _write(root / "take.py", _TAKE)
    _write(root / "blocks" / "each" / "main.py", _EFFECT + _EACH)
    each = {"executor": {"name": "python", "options": {"entry": "main.py"}}, **_handles("value"), "retries": _RETRIES}
    _write_json(root / "blocks" / "each" / "block.oo.yaml", each)
    _write(root / "services" / "svc" / "main.py", _EFFECT + _SERVICE)
    service = {
        "executor": {"name": "python", "entry": "main.py", "function": "main"},
        "blocks": [{"name": "call", **_handles("value"), "retries": _RETRIES}],
    }
    _write_json(root / "services" / "svc" / "service.oo.yaml", service)
    return {name: _write_flow(root / "flows" / name, consumers) for name, (consumers, _, _) in FLOWS.items()}


def _handles(*inputs: str) -> dict[str, Any]:
    return {"inputs_def": [{"handle": handle} for handle in inputs], "outputs_def": [{"handle": "out"}]}


def _inline(node_id: str, *inputs: str, **options: Any) -> dict[str, Any]:
    executor = {"name": "python", "options": {"entry": f"../../{node_id}.py", **options}}
    return {"node_id": node_id, "task": {"executor": executor, **_handles(*inputs), "retries": _RETRIES}}


def _source() -> dict[str, Any]:
    made = _inline("source", *_INPUTS)
    made["task"]["outputs_def"].append({"handle": "bin", **_BYTES})
    made["inputs_from"] = [{"handle": name, "from_flow": [{"input_handle": name}]} for name in _INPUTS]
    return made


def _frames() -> list[dict[str, Any]]:
    frames, take = _inline("frames", "count"), _inline("take", "v")
    frames["task"] |= {"outputs_def": [{"handle": "v", **_VAR}], "recompute": True}
    frames["inputs_from"] = [{"handle": "count", "from_flow": [{"input_handle": "count"}]}]
    take["task"] |= {"inputs_def": [{"handle": "v", **_VAR}], "outputs_def": [{"handle": "n"}]}
    take |= {
        "inputs_from": [{"handle": "v", "from_node": [{"node_id": "frames", "output_handle": "v"}]}],
        "concurrency": 6,
    }
    return [frames, take]


def _consumer(node_id: str) -> dict[str, Any]:
    if node_id == "each":
        made: dict[str, Any] = {"node_id": node_id, "task": "self::each", "concurrency": 4}
    elif node_id == "call":
        made = {"node_id": node_id, "service": "self::svc::call"}
    elif node_id == "own":
        made = {"node_id": node_id, "task": _inline("each", "value")["task"], "concurrency": 2}
        made["task"]["executor"]["options"] = {"entry": "../../blocks/each/main.py", "spawn": True}
    else:
        made = {**_inline(node_id, "value"), "concurrency": -1 if node_id == "stays" else 2}
    handle = "bin" if node_id == "bins" else "out"
    if handle == "bin":
        made["task"]["inputs_def"][0].update(_BYTES)
    made["inputs_from"] = [{"handle": "value", "from_node": [{"node_id": "source", "output_handle": handle}]}]
    return made


def _write_flow(directory: Path, consumers: tuple[str, ...]) -> Path:
    nodes = _frames() if "take" in consumers else [_source(), *map(_consumer, consumers)]
    inputs_def = [{"handle": name} for name in _INPUTS]
    _write_json(directory / "flow.oo.yaml", {"inputs_def": inputs_def, "nodes": nodes})
    return directory / "flow.oo.yaml"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _write_json(path: Path, obj: dict[str, Any]) -> None:
    # JSON is YAML.
    _write(path, orjson.dumps(obj).decode())
