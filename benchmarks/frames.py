"""Frames: var values that go to blocks in other processes, that come in a stream, and that pass through a pipeline.

``fan_out``: how many times as fast as one process 8 jobs of pure Python are that have one frame, on two executors.
``hand_over``, ``strings``, ``made_shared``: ms from ``ctx.output`` in one executor until the first block of another one
has the value (a numeric frame, a frame of texts and categories, an array from ``ctx.empty``); ``*_further``: from the
moment at which a further consumer may run until it has it. ``stream``: MB that a process takes at most while frames go
through one var handle to a slower consumer. ``pipeline``: the same for stages that each make a new frame.
``lag``: how late the blocks' loops run at both ends of a hand-over.
Rivals: a bare pool of two processes, the bytes written once to a new file in memory, and Dask distributed (two worker
processes of one thread, no limit of memory, else as it comes), which keeps no journal.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import asyncblock
from asyncblock.flow import load_flow

from .frames_data import burn, made
from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns

__all__ = ["cases", "fan_out", "hand_over", "measure", "pipeline", "pool", "stream", "write"]

EXTRAS = ("preview",)
"""Of asyncblock, that a build needs for it: pandas."""

_SOURCE = """
import asyncio, os, time
from benchmarks.frames_data import made
from benchmarks.ticker import ticking

def shared(ctx, mb):
    import numpy
    array = ctx.empty(mb * 125_000)
    array[:] = numpy.arange(mb * 125_000)
    return array

async def main(inputs, ctx):
    kind, mb = inputs["kind"], inputs["mb"]
    value = await (asyncio.to_thread(shared, ctx, mb) if kind == "shared" else asyncio.to_thread(made, kind, mb))
    async with ticking() as lags:
        began = time.monotonic()
        await ctx.output(value, "v")
        while not os.path.exists(inputs["stop"]):
            await asyncio.sleep(0.05)
    return {"told": {"began": began, **lags.figures()}}
"""
_FIRST = """
import time

async def main(inputs, ctx):
    now = time.monotonic()
    from benchmarks.frames_data import dirty_mb, right
    grown = dirty_mb() - float(open(inputs["base"]).read())
    kind = "array" if inputs["kind"] == "shared" else inputs["kind"]
    assert right(kind, inputs["v"])
    return {"told": {"now": now, "grown": grown}, "go": time.monotonic()}
"""
_LATER = """
import time

async def main(inputs, ctx):
    now = time.monotonic()
    return {"ms": (now - inputs["go"]) * 1000, "go": time.monotonic()}
"""
_WATCH = """
import asyncio, os
from benchmarks.frames_data import dirty_mb
from benchmarks.ticker import ticking

async def main(inputs, ctx):
    import pandas
    with open(inputs["base"] + ".part", "w") as file:
        file.write(str(dirty_mb()))
    os.rename(inputs["base"] + ".part", inputs["base"])
    async with ticking() as lags:
        while not os.path.exists(inputs["stop"]):
            await asyncio.sleep(0.05)
    return {"told": lags.figures()}
"""
_END = """
async def main(inputs, ctx):
    open(inputs["stop"], "w").close()
"""
_WORK = """
def main(inputs, ctx):
    from benchmarks.frames_data import burn, right
    assert right("numbers", inputs["v"])
    burn(inputs["turns"])
    return {"ended": True}
"""
_OUT = """
import asyncio, time
from benchmarks.frames_data import made

async def main(inputs, ctx):
    await ctx.output(await asyncio.to_thread(made, "numbers", inputs["mb"]), "v")
    return {"began": time.monotonic()}
"""
_FRAMES = """
import asyncio
import numpy, pandas
from benchmarks.frames_data import held_mb
from benchmarks.ticker import ticking

def one(mb, number):
    return pandas.DataFrame(numpy.full((mb * 12_500, 10), float(number)), copy=False)

async def main(inputs, ctx):
    await asyncio.to_thread(one, 1, 0)
    before = held_mb()[0]
    async with ticking() as lags:
        for number in range(inputs["count"]):
            await ctx.output(await asyncio.to_thread(one, inputs["mb"], number), "v")
    return {"before": before, "lag": lags.figures()}
"""
_SLOW = """
import asyncio
from benchmarks.frames_data import held_mb

async def main(inputs, ctx):
    await asyncio.sleep(inputs["pause"])
    frame = inputs["v"]
    return {"n": [float(frame.iloc[0, 0]), float(frame.iloc[-1, -1])], "peak": held_mb()[1]}
"""
_STAGE = """
from benchmarks.frames_data import held_mb

def main(inputs, ctx):
    return {"v": inputs["v"] + 1, "peak": held_mb()[1]}
"""
_BEGIN = """
from benchmarks.frames_data import held_mb, made

def main(inputs, ctx):
    made("numbers", 1) + 1
    return {"before": held_mb()[0], "v": made("numbers", inputs["mb"])}
"""


def _package(root: Path, name: str, blocks: Mapping[str, tuple[str, str, str]]) -> Path:
    """Write a package: blocks with their inputs and outputs (``x:var`` is a var handle) and sources."""
    directory = root / name
    for block, (inputs, outputs, source) in blocks.items():
        place = directory / "blocks" / block
        place.mkdir(parents=True)
        (place / "main.py").write_text(source)
        lines = "executor: {name: python, options: {entry: main.py}}\n"
        lines += f"inputs_def: [{', '.join(map(_handle, inputs.split()))}]\n"
        lines += f"outputs_def: [{', '.join(map(_handle, outputs.split()))}]\n"
        (place / "block.oo.yaml").write_text(lines)
    (directory / "package.oo.yaml").write_text(f"name: {name}\nversion: 1.0.0\n")
    return directory


def _handle(text: str) -> str:
    name, _, var = text.partition(":")
    return f"{{handle: {name}{', json_schema: {contentMediaType: oomol/var}' if var else ''}}}"


def _node(node_id: str, block: Path, concurrency: int = 1, **inputs: Any) -> str:
    """Write a node; ``"@node.handle"`` is another's output."""
    fed = []
    for handle, value in inputs.items():
        if isinstance(value, str) and value.startswith("@"):
            source, _, output = value[1:].partition(".")
            fed.append(f"{{handle: {handle}, from_node: [{{node_id: {source}, output_handle: {output}}}]}}")
        else:
            fed.append(f"{{handle: {handle}, value: {value!r}}}")
    head = f"node_id: {node_id}, task: {block}, concurrency: {concurrency}"
    return f"  - {{{head}, inputs_from: [{', '.join(fed)}]}}\n"


def _flow(root: Path, name: str, nodes: str, **outputs: str) -> Any:
    path = root / f"{name}.oo.yaml"
    ends = []
    for handle, source in outputs.items():
        node, _, output = source.partition(".")
        ends.append(f"{{handle: {handle}, from_node: [{{node_id: {node}, output_handle: {output}}}]}}")
    path.write_text(f"nodes:\n{nodes}outputs_from: [{', '.join(ends)}]\n")
    return load_flow(path)


def _environment() -> dict[str, str]:
    """Let executors find this package."""
    home = str(Path(__file__).parent.parent)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not before else f"{home}{os.pathsep}{before}"}


@asynccontextmanager
async def _executors(*packages: Path) -> AsyncIterator[Any]:
    """Start a mainframe, and an executor for each of these packages."""
    async with open_plant() as (plant, mainframe):
        started = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "asyncblock", "executor", "--url", plant.url, "--package", str(package)),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env={**_environment(), "ASYNCBLOCK_TOKEN": plant.token},
            )
            for package in packages
        ]
        try:
            for process in started:
                assert process.stderr is not None
                # It says that it is there.
                if not (line := await process.stderr.readline()).startswith(b"executor for"):
                    raise RuntimeError(f"an executor didn't start: {line.decode()}")
            yield mainframe
        finally:
            for process in started:
                process.terminate()
            for process in started:
                await process.communicate()


async def hand_over(kind: str, mb: int) -> dict[str, float]:
    """Measure how a value gets from one executor to another."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        one = _package(root, "made", {"source": ("kind mb stop", "v:var told", _SOURCE)})
        other = _package(
            root,
            "taken",
            {
                "first": ("v:var base kind", "told go", _FIRST),
                "later": ("v:var go", "ms go", _LATER),
                "watch": ("stop base", "told", _WATCH),
                "end": ("go stop", "", _END),
            },
        )
        async with _executors(one, other) as mainframe:
            # The first time warms up: imports, and code that is loaded.
            await _handed(mainframe, root, one, other, kind, 2)
            found = await _handed(mainframe, root, one, other, kind, mb)
    return found


async def _handed(mainframe: Any, root: Path, one: Path, other: Path, kind: str, mb: int) -> dict[str, float]:
    stop, base = str(root / f"stop{mb}"), str(root / f"base{mb}")
    taken = other / "blocks"
    nodes = _node("watch", taken / "watch", stop=stop, base=base)
    nodes += _node("source", one / "blocks" / "source", kind=kind, mb=mb, stop=stop)
    nodes += _node("first", taken / "first", v="@source.v", base=base, kind=kind)
    nodes += _node("second", taken / "later", v="@source.v", go="@first.go")
    nodes += _node("third", taken / "later", v="@source.v", go="@second.go")
    nodes += _node("end", taken / "end", go="@third.go", stop=stop)
    outputs = {"source": "source.told", "first": "first.told", "second": "second.ms", "third": "third.ms"}
    session = await mainframe.start(_flow(root, f"hand{mb}", nodes, **outputs, watch="watch.told"))
    told = await session.outputs()
    return {
        "ms": (told["first"]["now"] - told["source"]["began"]) * 1000,
        "further_ms": max(told["second"], told["third"]),
        "dirty_mb": told["first"]["grown"],
        "lag_made": told["source"]["max"],
        "lag_made_p99": told["source"]["p99"],
        "lag_taken": told["watch"]["max"],
        "lag_taken_p99": told["watch"]["p99"],
    }


async def fan_out(mb: int, jobs: int, turns: int) -> dict[str, float]:
    """Measure jobs of pure Python that have one frame, on two executors."""
    os.environ.update(_environment())
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        package = _package(root, "fan", {"out": ("mb", "v:var began", _OUT), "work": ("v:var turns", "ended", _WORK)})
        async with asyncblock.embedded(root / "data", workers=2, packages=[package]) as mainframe:
            await _fanned(mainframe, root, package, 1, jobs, 1000)
            return {"s": await _fanned(mainframe, root, package, mb, jobs, turns)}


async def _fanned(mainframe: Any, root: Path, package: Path, mb: int, jobs: int, turns: int) -> float:
    nodes = _node("out", package / "blocks" / "out", mb=mb)
    for number in range(jobs):
        nodes += _node(f"w{number}", package / "blocks" / "work", v="@out.v", turns=turns)
    session = await mainframe.start(_flow(root, f"fan{mb}", nodes, began="out.began"))
    began = (await session.outputs())["began"]
    return time.monotonic() - float(began)


def pool(mb: int, jobs: int, turns: int) -> dict[str, float]:
    """Measure the same work in a bare pool of two processes, which have the frame for nothing, and in one."""
    frame = made("numbers", mb)
    with get_context("fork").Pool(2) as processes:
        processes.map(burn, [1000] * 4, 1)
        began = time.monotonic()
        processes.map(burn, [turns] * jobs, 1)
        both = time.monotonic() - began
        began = time.monotonic()
        for _ in range(jobs):
            processes.apply(burn, (turns,))
        alone = time.monotonic() - began
    del frame
    return {"s": both, "alone_s": alone}


def write(mb: int) -> dict[str, float]:
    """Measure how long the bytes take to be written once to a new file in memory, ms."""
    data = memoryview(made("array", mb)).cast("B")
    place = os.environ.get("ASYNCBLOCK_MEMORY_DIR") or "/dev/shm"
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        began = time.monotonic()
        rest = data
        while rest:
            rest = rest[os.write(file.fileno(), rest[: 1 << 30]) :]
        return {"ms": (time.monotonic() - began) * 1000}


async def stream(count: int, mb: int, budget_mb: int, pause: float) -> dict[str, float]:
    """Measure what a process takes at most while frames go to a slower consumer, and whether they are right."""
    os.environ.update(_environment(), ASYNCBLOCK_VAR_MEMORY=f"{budget_mb}MB")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        blocks = {"frames": ("count mb", "v:var before lag", _FRAMES), "slow": ("v:var pause", "n peak", _SLOW)}
        package = _package(root, "stream", blocks)
        async with asyncblock.embedded(root / "data", workers=1, packages=[package]) as mainframe:
            nodes = _node("frames", package / "blocks" / "frames", count=count, mb=mb)
            nodes += _node("slow", package / "blocks" / "slow", v="@frames.v", pause=pause)
            flow = _flow(root, "stream", nodes, before="frames.before", lag="frames.lag", peak="slow.peak")
            session = await mainframe.start(flow)
            ends = [event async for event in session if isinstance(event, asyncblock.events.BlockFinished)]
            numbers = [event.result["n"] for event in ends if "n" in event.result]
            told = await session.outputs()
    if numbers != [[float(number)] * 2 for number in range(count)]:
        raise RuntimeError(f"the consumer has seen {numbers[:20]}")
    return {"mb": told["peak"] - told["before"], "lag": told["lag"]["max"], "lag_p99": told["lag"]["p99"]}


async def pipeline(stages: int, mb: int) -> dict[str, float]:
    """Measure what a process takes at most while a frame goes through stages."""
    os.environ.update(_environment())
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        blocks = {"begin": ("mb", "v:var before", _BEGIN), "stage": ("v:var", "v:var peak", _STAGE)}
        package = _package(root, "pipeline", blocks)
        async with asyncblock.embedded(root / "data", workers=1, packages=[package]) as mainframe:
            nodes, before = _node("begin", package / "blocks" / "begin", mb=mb), "begin"
            for number in range(stages):
                nodes += _node(f"s{number}", package / "blocks" / "stage", v=f"@{before}.v")
                before = f"s{number}"
            flow = _flow(root, "pipeline", nodes, before="begin.before", peak=f"{before}.peak")
            told = await (await mainframe.start(flow)).outputs()
    return {"frames": (told["peak"] - told["before"]) / mb}


# ---------------------------------------------------------------------- what is measured


def _sizes(quick: bool) -> dict[str, dict[str, Any]]:
    if quick:
        return {
            "fan_out": {"mb": 16, "jobs": 8, "turns": 1_000_000},
            "hand_over": {"mb": 50},
            "stream": {"count": 30, "mb": 5, "budget_mb": 30, "pause": 0.01},
            "pipeline": {"stages": 5, "mb": 50},
        }
    return {
        "fan_out": {"mb": 160, "jobs": 8, "turns": 15_000_000},
        "hand_over": {"mb": 1000},
        "stream": {"count": 1000, "mb": 50, "budget_mb": 512, "pause": 0.03},
        "pipeline": {"stages": 20, "mb": 500},
    }


_KINDS = {"hand_over": "numbers", "made_shared": "shared", "strings": "strings"}


def _ours(quick: bool) -> dict[str, Subject]:
    sizes = _sizes(quick)
    found = {
        name: Subject(name, f"benchmarks.frames:{name}", sizes[name]) for name in ("fan_out", "stream", "pipeline")
    }
    for name, kind in _KINDS.items():
        size = {"mb": 5 * sizes["hand_over"]["mb"]} if kind == "strings" else sizes["hand_over"]
        found[name] = Subject(name, "benchmarks.frames:hand_over", {"kind": kind, **size})
    return found


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    ours = _ours(quick)
    made_cases = [Case("fan_out", ours["fan_out"], "s", "s")]
    for name in _KINDS:
        made_cases += [Case(name, ours[name], "ms", "ms"), Case(f"{name}_further", ours[name], "further_ms", "ms")]
    made_cases += [Case("lag", ours["hand_over"], "lag_made", "ms at most")]
    made_cases += [Case("stream", ours["stream"], "mb", "MB"), Case("pipeline", ours["pipeline"], "frames", "frames")]
    return made_cases


def measure(quick: bool) -> Result:
    """Measure ours and the rivals."""
    sizes, ours = _sizes(quick), _ours(quick)
    rival = "benchmarks.rivals.dask_frames"
    subjects = [
        Subject("pool", "benchmarks.frames:pool", sizes["fan_out"], rival=True),
        Subject("write", "benchmarks.frames:write", sizes["hand_over"], rival=True),
        ours["fan_out"],
        Subject("Dask fan_out", f"{rival}:fan_out", sizes["fan_out"], rival=True),
    ]
    for name, kind in _KINDS.items():
        arguments = {**ours[name].arguments, "kind": "array" if kind == "shared" else kind}
        subjects += [ours[name], Subject(f"Dask {name}", f"{rival}:hand_over", arguments, rival=True)]
    measured = measure_in_turns(subjects, 1 if quick else 3)
    long = measure_in_turns([ours["stream"], ours["pipeline"]], 1)
    figures = {**measured.figures, **long.figures}
    missing = {**measured.failed, **long.failed}
    for name in ours:
        # Without one of ours there is nothing to show.
        (measured if name in _KINDS or name == "fan_out" else long).figures[name]
    alone = measured.figures["pool"]["alone_s"]
    values = {"fan_out": alone / figures["fan_out"]["s"]}
    dask: dict[str, float] = {}
    if "Dask fan_out" in figures:
        dask["fan_out"] = alone / figures["Dask fan_out"]["s"]
    for name in _KINDS:
        for case, key in ((name, "ms"), (f"{name}_further", "further_ms")):
            values[case] = figures[name][key]
            if f"Dask {name}" in figures:
                dask[case] = figures[f"Dask {name}"][key]
    lags = [figures[name][key] for name in _KINDS for key in ("lag_made", "lag_taken")]
    values["lag"] = max(lags)
    values["stream"], values["pipeline"] = figures["stream"]["mb"], figures["pipeline"]["frames"]
    stream_mb = sizes["stream"]["budget_mb"] + 3 * sizes["stream"]["mb"]
    bare = {"fan_out": alone / figures["pool"]["s"], "hand_over": figures["write"]["ms"]}
    return Result(
        name="frames",
        unit="(x, ms, ms, ms, ms, ms, ms, ms at most, MB, frames)",
        asyncblock=values,
        rivals={"bare": bare, **({"Dask": dask} if dask else {})},
        must={
            "fan_out": ">= 0.9x a bare pool, Dask",
            "hand_over": "<= 1.3x a bare write, faster than Dask",
            "hand_over_further": "<= 30 ms",
            "made_shared": "<= 10 ms, >= 40x Dask",
            "strings": ">= 2x Dask",
            "lag": "max <= 15 ms, p99 <= 3 ms",
            "stream": f"<= {stream_mb} MB",
            "pipeline": "<= 3 frames",
        },
        conditions={
            "sizes": {name: {**each} for name, each in sizes.items()},
            "bare": "a pool of two processes that have the frame for nothing; its bytes written once to /dev/shm",
            "Dask": "LocalCluster, two worker processes of one thread, no limit of memory",
            "p99 of the lags": {
                f"{name} {end}": round(figures[name][f"lag_{end}_p99"], 2)
                for name in _KINDS
                for end in ("made", "taken")
            },
            "lags": {
                f"{name} {end}": round(figures[name][f"lag_{end}"], 2) for name in _KINDS for end in ("made", "taken")
            },
            "private dirty MB of the consumer": {name: round(figures[name]["dirty_mb"], 1) for name in _KINDS},
            "stream's lag": {key: round(figures["stream"][key], 2) for key in ("lag", "lag_p99")},
            "peak MB of the largest process": {**measured.peaks, **long.peaks},
        },
        not_shown=missing,
    )
