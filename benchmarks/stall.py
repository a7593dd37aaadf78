"""Stall: how late the block's own loop runs while it awaits a preview or a large value.

A ticker wants to run every millisecond on the loop of the executor; its largest lag counts, p99 is in the conditions.
``*_consumer`` is the loop of the executor while it decodes the value for another block; ``mainframe`` is the round
trip of a small question to the mainframe, asked from a process of its own while the value passes through, and
``mainframe_100k_jobs`` while 100,000 jobs come to wait there, snapshots of them are made, and they are cancelled.
Beside it the same work done inline and in a plain thread, and an idle loop. Nothing is subtracted, the machine's noise
neither. Garbage collections are on, as in an executor process; how long they took is in the conditions: those of the
author's own objects are his.
"""

from __future__ import annotations

import asyncio
from typing import Any

from asyncblock import Context, Executor, Flow, block

from .loads import FIGURES, VALUES, draw, encode
from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns
from .ticker import Lags, ticking

__all__ = ["EXTRAS", "REQUIREMENTS", "cases", "idle", "measure", "others", "ours"]

EXTRAS = ("preview",)
"""Of asyncblock, that a build needs for it."""

REQUIREMENTS = ("jinja2>=3.1.2", "pillow>=11", "plotly>=6", "plotnine>=0.14")
"""The libraries of the figures, which no build needs for anything else."""

_MUST = "max <= 15 ms, p99 <= 3 ms"
_OTHER = {"line_1M_points": "<= 75 ms", "styler_5000": "<= 40 ms"}
"""Pickling a million points, and what can't be pickled: pandas styles 400 cells on a thread."""

_ENOUGH = 300
"""Ticks of which one in a hundred can be told from the latest: a preview that takes 40 ms has forty."""

_MOST_TIMES = 20
"""Previews of a case that takes a few ms."""

_found: dict[str, Lags] = {}


@block(inputs=[{"handle": "case"}], outputs=[])
async def show(inputs: dict[str, Any], ctx: Context) -> None:
    """Preview figures, and new ones until there are enough ticks; the first time warms up."""
    await _watched(ctx, FIGURES[inputs["case"]]())
    lags = _found["producer"] = Lags()
    for _ in range(_MOST_TIMES):
        lags.add(await _watched(ctx, FIGURES[inputs["case"]]()))
        if len(lags.ms) >= _ENOUGH:
            break


async def _watched(ctx: Context, figures: list[Any]) -> Lags:
    async with ticking() as lags:
        async with asyncio.TaskGroup() as tasks:
            for figure in figures:
                tasks.create_task(_preview(ctx, figure))
    return lags


async def _preview(ctx: Context, figure: Any) -> None:
    await ctx.preview(figure)


@block(inputs=[{"handle": "case"}], outputs=[{"handle": "value"}, {"handle": "again"}])
async def send(inputs: dict[str, Any], ctx: Context) -> None:
    """Send a large value."""
    value = VALUES[inputs["case"]]()
    await ctx.output([1] * 100_000, "again")
    async with ticking() as lags:
        await ctx.output(value, "value")
        await ctx.flush()
    _found["producer"] = lags
    _sent.set()


_sent: asyncio.Event


@block(inputs=[{"handle": "value"}], outputs=[])
async def take(inputs: dict[str, Any], ctx: Context) -> None:
    """Look at a large value."""
    if not len(inputs["value"]):
        raise ValueError("the value is empty")


async def ours(case: str) -> dict[str, float]:
    """Measure one case with asyncblock; ``*_consumer`` measures the far end."""
    global _sent
    _sent = asyncio.Event()
    name = case.removesuffix("_consumer")
    flow = Flow(case)
    if name in FIGURES:
        flow.node(show, inputs={"case": name})
    else:
        source = flow.node(send, inputs={"case": name})
        if case.endswith("_consumer"):
            flow.node(take, inputs={"value": source["value"]})
    async with open_plant() as (_, mainframe):
        async with Executor(blocks=[show, send, take]).attached(mainframe):
            session = await mainframe.start(flow.plan())
            if case.endswith("_consumer"):
                await _sent.wait()
                async with ticking() as lags:
                    await session.outputs()
                _found["consumer"] = lags
            await session.outputs()
    return _found["consumer" if case.endswith("_consumer") else "producer"].figures()


async def mainframe_meanwhile(case: str) -> dict[str, float]:
    """Measure the mainframe's round trips while a large value passes through it."""
    global _sent
    _sent = asyncio.Event()
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[send, take]).attached(mainframe):
            asker = Subject("", "benchmarks.stall:ask", {"url": plant.url, "token": plant.token})
            flow = Flow(case)
            flow.node(take, inputs={"value": flow.node(send, inputs={"case": case})["value"]})
            session = await mainframe.start(flow.plan())
            asking = asyncio.create_task(asyncio.to_thread(asker.run, within=True))
            await session.outputs()
            return await asking


@block(inputs=[{"handle": "count"}], outputs=[{"handle": "out"}])
async def feed(inputs: dict[str, Any], ctx: Context) -> None:
    """Send numbers."""
    for number in range(inputs["count"]):
        await ctx.output(number, "out")
    await ctx.flush()
    _sent.set()


@block(inputs=[{"handle": "value"}], outputs=[])
async def stay(inputs: dict[str, Any], ctx: Context) -> None:
    """Stay open until cancelled."""
    await asyncio.Event().wait()


async def mainframe_with_jobs(jobs: int) -> dict[str, float]:
    """Measure the mainframe's round trips from the first of so many waiting jobs until all are cancelled."""
    global _sent
    _sent = asyncio.Event()
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[feed, stay], async_slots=4).attached(mainframe):
            until = plant.data_dir / "asked enough"
            where = {"url": plant.url, "token": plant.token, "until": str(until)}
            flow = Flow("jobs")
            flow.node(stay, inputs={"value": flow.node(feed, inputs={"count": jobs})["out"]}, concurrency=-1)
            asking = asyncio.create_task(asyncio.to_thread(Subject("", "benchmarks.stall:ask", where).run, within=True))
            session = await mainframe.start(flow.plan())
            await _sent.wait()
            # For as long as the mainframe may need for a snapshot of them.
            await asyncio.sleep(5)
            await session.cancel()
            await session.wait()
            until.touch()
            return await asking


async def ask(url: str, token: str, until: str | None = None) -> dict[str, float]:
    """Ask a mainframe small questions for two seconds, or until there is a file."""
    import time
    from pathlib import Path

    from asyncblock import connect

    from .ticker import percentile

    times: list[float] = []
    async with connect(url, token) as mainframe:
        end = time.perf_counter() + 2
        while time.perf_counter() < end if until is None else not Path(until).exists():
            began = time.perf_counter()
            await mainframe.sessions(limit=1)
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.001)
    return {"max": max(times), "p99": percentile(times, 0.99), "collection_max": 0.0}


async def others(case: str, how: str) -> dict[str, float]:
    """Measure the same work done ``inline`` or in a plain ``thread``."""
    name = case.removesuffix("_consumer")
    work: list[tuple[Any, Any]]
    if name in FIGURES:
        for figure in FIGURES[name]():
            draw(figure)
        work = [(draw, figure) for figure in FIGURES[name]()]
    elif case.endswith("_consumer"):
        import orjson

        work = [(orjson.loads, encode(VALUES[name]()))]
    else:
        work = [(encode, VALUES[name]())]
    async with ticking() as lags:
        if how == "inline":
            for function, argument in work:
                function(argument)
        else:
            await asyncio.gather(*(asyncio.to_thread(function, argument) for function, argument in work))
    return lags.figures()


async def idle() -> dict[str, float]:
    """Measure a loop that only ticks."""
    async with ticking() as lags:
        await asyncio.sleep(2)
    return lags.figures()


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    names = ["figure", "numpy_5M"] if quick else [*FIGURES, *VALUES, "nested_60MB_consumer"]
    subjects = {name: Subject(f"asyncblock {name}", "benchmarks.stall:ours", {"case": name}) for name in names}
    if not quick:
        meanwhile = "benchmarks.stall:mainframe_meanwhile"
        subjects["mainframe"] = Subject("asyncblock mainframe", meanwhile, {"case": "nested_60MB"})
    with_jobs = Subject(
        "asyncblock mainframe_100k_jobs", "benchmarks.stall:mainframe_with_jobs", {"jobs": 10_000 if quick else 100_000}
    )
    subjects["mainframe_100k_jobs"] = with_jobs
    return [Case(name, subject, "max", "ms at most") for name, subject in subjects.items()]


def measure(quick: bool) -> Result:
    """Measure ours, the obvious ways, and an idle loop."""
    subjects = [case.subject for case in cases(quick)]
    names = [case.name for case in cases(quick)]
    subjects += [
        Subject(f"{how} {name}", "benchmarks.stall:others", {"case": name, "how": how})
        for how in ("inline", "thread")
        for name in names
        if not name.startswith("mainframe")
    ]
    subjects.append(Subject("idle", "benchmarks.stall:idle", {}))
    measured = measure_in_turns(subjects, 1 if quick else 3)
    for name in names:
        # Without one of ours there is nothing to show.
        measured.figures[f"asyncblock {name}"]
    largest = {who: _of(measured.figures, who, "max") for who in ("asyncblock", "inline", "thread")}
    control = measured.figures["idle"]
    return Result(
        name="stall",
        unit="ms at most",
        asyncblock=largest.pop("asyncblock"),
        rivals=largest,
        must={name: _OTHER.get(name, _MUST) for name in names},
        conditions={
            "ticker": "1 ms, on the loop of the blocks, after warm-up; medians of the rounds' largest lags",
            "p99": _of(measured.figures, "asyncblock", "p99"),
            "longest garbage collection": _of(measured.figures, "asyncblock", "collection_max"),
            "peak MB of the largest process": measured.peaks,
            "idle loop": {"max": round(control["max"], 2), "p99": round(control["p99"], 2)},
        },
        not_shown=measured.failed,
    )


def _of(figures: Any, who: str, what: str) -> dict[str, float]:
    prefix = f"{who} "
    return {name.removeprefix(prefix): round(f[what], 2) for name, f in figures.items() if name.startswith(prefix)}
