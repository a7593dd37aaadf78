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


def _task(entry: str, inputs: list[str], retries: int) -> dict[str, Any]:
    return {
        "executor": {"name": "python", "options": {"entry": entry}},
        "inputs_def": [{"handle": handle} for handle in inputs],
        "outputs_def": [{"handle": "out"}],
        "retries": {"retries": retries, "backoff": 0.1},
    }


def write_package(root: Path) -> tuple[Path, Path]:
    """Write the package; return the flow without consumers and the one whose consumer takes each number."""
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
    inputs_def = [{"handle": name} for name in names]
    return (
        _write_flow(root / "flows" / "alone", {"inputs_def": inputs_def, "nodes": [source]}),
        _write_flow(root / "flows" / "consumed", {"inputs_def": inputs_def, "nodes": [source, each]}),
    )


def _write_flow(directory: Path, flow: dict[str, Any]) -> Path:
    directory.mkdir(parents=True)
    path = directory / "flow.oo.yaml"
    # JSON is YAML.
    path.write_bytes(orjson.dumps(flow))
    return path
