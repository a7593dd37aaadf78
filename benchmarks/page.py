"""Page: what a real Chromium shows of a run, and when; the session, the page and the browser on one machine.

``preview``: from ``await ctx.preview(picture)`` until the browser has drawn it, a picture of about 100 kB that is new
each time (rendered before, so that a figure's own rendering isn't in it); p50 and p99. ``first_paint``: from the
navigation until the graph and the counts of a session of many outputs and previews stand there, in a page that has
just begun; then what the page's process took at most, and what the tab takes. ``frames`` and ``age``: the graph of a
flow of 1,000 nodes while some 200 states change each second; how many frames the browser draws, and how long after its
job's end a node is drawn as finished (p99). ``report`` and ``report_mb``: the command for the
session of ``first_paint``. ``with_20_followers``: the part of its pace of 50,000 outputs a second that a run keeps
while 20 websockets and a tab follow it (``crowd``), in paired rounds. ``--full`` has the session of ``first_paint`` at
its full size, 10^6 outputs and 500 previews.
"""

from __future__ import annotations

import asyncio
import random
import struct
import sys
import tempfile
import time
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any

from asyncblock import Context, Executor, Flow, block

from .chromium import largest_renderer_mb, look_for, open_page, open_tab
from .crowd import FOLLOWERS, RATE, in_pairs
from .paired import FEWEST
from .plant import open_plant
from .report import Result
from .rounds import Case, Subject, measure_in_turns
from .ticker import percentile

__all__ = ["cases", "changing", "large", "measure", "previews"]

REQUIREMENTS = ("selenium>=4.20",)
"""Beside asyncblock, in a build that is measured."""

EXTRAS = ("page",)

_CHANGES = 200
"""Changes of states a second in the graph: each job begins to work, and ends."""

_DRAWN = """
window.drawn = [];
// Two frames: in the first one what was changed is laid out and painted, the second one comes after it.
const note = (...what) => requestAnimationFrame(() => requestAnimationFrame(() => {
  window.drawn.push([...what, Date.now()]);
}));
"""

_PICTURES = """
const seen = new Set();
const look = () => {
  for (const image of document.querySelectorAll(".cards img")) {
    if (!image.complete) image.addEventListener("load", look, { once: true });
    else if (image.naturalWidth && !seen.has(image.naturalWidth)) {
      seen.add(image.naturalWidth);
      note(image.naturalWidth);
    }
  }
};
const which = { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] };
new MutationObserver(look).observe(document, which);
"""

_FINISHED = """
window.frames_ = 0;
const count = () => { window.frames_ += 1; requestAnimationFrame(count); };
requestAnimationFrame(count);
const seen = new Set();
new MutationObserver((changes) => {
  for (const { target } of changes) {
    if (target.dataset.state === "finished" && !seen.has(target.dataset.node)) {
      seen.add(target.dataset.node);
      note(target.dataset.node);
    }
  }
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
"""

_FIRST = """
const look = () => {
  const told = document.querySelector(".head .sub")?.textContent ?? "";
  if (document.querySelector("g[data-node]") && told.includes(" jobs")) note(performance.now());
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


class _Scene:
    """What blocks of this process and whoever measures have in common."""

    def __init__(self) -> None:
        self.orders: asyncio.Queue[int | None] = asyncio.Queue()
        self.begun: dict[int, float] = {}
        self.ended: dict[str, float] = {}
        self.go = asyncio.Event()


_scene: _Scene


def picture(width: int) -> str:
    """Return a picture that nobody has seen yet, as an address: its width is its number."""
    height = 200
    noise = random.Random(width).randbytes(64 * height)
    rows = b"".join(
        b"\x00" + bytes((x + y + width) & 255 for x in range(width - 64)) + noise[64 * y : 64 * y + 64]
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + b64encode(png).decode()


@block(inputs=[], outputs=[])
async def show(inputs: dict[str, Any], ctx: Context) -> None:
    """Preview a picture for each order."""
    while (width := await _scene.orders.get()) is not None:
        shown = {"type": "image", "data": await asyncio.to_thread(picture, width)}
        _scene.begun[width] = time.time()
        await ctx.preview(shown, id="picture")


async def previews(times: int) -> dict[str, float]:
    """Measure how long pictures take to the browser's pixels; ms."""
    global _scene
    _scene = _Scene()
    flow = Flow("previews")
    flow.node(show, node_id="show")
    async with open_plant() as (plant, mainframe), Executor(blocks=[show]).attached(mainframe), open_tab() as tab:
        session = await mainframe.start(flow.plan())
        async with open_page(plant, session.session_id) as (address, _):
            await tab.on_each_page(_DRAWN + _PICTURES)
            await tab.go(address)
            await tab.until("document.querySelector('g[data-node=show]')")
            await tab.ask("location.hash = `#/s/${arguments[0]}/previews`", session.session_id)
            await tab.until("document.querySelector('.part section[aria-label=Previews]')")
            found: list[float] = []
            pace = random.Random(1)
            for number in range(times + 3):
                _scene.orders.put_nowait(400 + number)
                drawn = await tab.until("window.drawn.find(([width]) => width === arguments[0])", 400 + number)
                # The first ones open the list, and the browser's caches.
                if number >= 3:
                    found.append(drawn[1] - _scene.begun[400 + number] * 1000)
                # The page sends at a pace of its own: no order is to keep step with it.
                await asyncio.sleep(pace.uniform(0.0, 0.2))
            _scene.orders.put_nowait(None)
            await session.wait()
    return {"p50": percentile(found, 0.5), "p99": percentile(found, 0.99)}


@block(inputs=[{"handle": "outputs"}, {"handle": "previews"}], outputs=[{"handle": "out"}])
async def put_out(inputs: dict[str, Any], ctx: Context) -> None:
    """Put out numbers, and preview between them."""
    outputs, shown = inputs["outputs"], inputs["previews"]
    for number in range(outputs):
        await ctx.output(number, "out")
        if number % (outputs // shown) == 0:
            await ctx.preview({"type": "table", "data": {"columns": ["n"], "rows": [[number]]}}, id=f"at {number}")
    await ctx.flush()


async def large(outputs: int, previews: int) -> dict[str, float]:
    """Measure the first sight of a session, and its report."""
    jobs = 10
    flow = Flow("large")
    each = {"outputs": outputs // jobs, "previews": previews // jobs}
    for number in range(jobs):
        flow.node(put_out, inputs=each, node_id=f"n{number}")
    async with open_plant() as (plant, mainframe):
        async with Executor(blocks=[put_out]).attached(mainframe):
            session = await mainframe.start(flow.plan())
            if (end := await session.wait()).state != "succeeded":
                raise RuntimeError(f"the flow {end.state}: {end.error}")
        async with open_tab() as tab, open_page(plant, session.session_id) as (address, page):
            await tab.on_each_page(_DRAWN + _FIRST)
            await tab.go(address)
            # The way in is a document of its own, which leads to the page.
            first, _ = await tab.until("window.drawn?.[0]")
            await tab.until(f"document.querySelector('.head .sub').textContent.includes('{outputs:,} values')")
            renderer = largest_renderer_mb()
            took = _most_mb(page)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "report.html")
            began = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "asyncblock", "report", session.session_id, "-o", str(file)),
                *("--url", plant.url, "--token", plant.token),
                stdout=asyncio.subprocess.DEVNULL,
            )
            if await process.wait():
                raise RuntimeError("the report failed")
            seconds = time.perf_counter() - began
            size = file.stat().st_size / 1e6
    return {"first": first / 1000, "process_mb": took, "tab_mb": renderer, "report": seconds, "report_mb": size}


@block(inputs=[{"handle": "name"}, {"handle": "seconds"}], outputs=[])
async def work(inputs: dict[str, Any], ctx: Context) -> None:
    """Work for a while, after somebody looks."""
    await _scene.go.wait()
    await asyncio.sleep(inputs["seconds"])
    _scene.ended[inputs["name"]] = time.time()


async def changing(nodes: int) -> dict[str, float]:
    """Measure the graph of a flow while states of its nodes change."""
    global _scene
    _scene = _Scene()
    slots = 20
    flow = Flow("changing")
    for number in range(nodes):
        name = f"n{number}"
        flow.node(work, inputs={"name": name, "seconds": slots / (_CHANGES / 2)}, node_id=name)
    async with open_plant() as (plant, mainframe):
        executor = Executor(blocks=[work], async_slots=slots)
        async with executor.attached(mainframe), open_tab() as tab:
            session = await mainframe.start(flow.plan())
            async with open_page(plant, session.session_id) as (address, _):
                await tab.on_each_page(_DRAWN + _FINISHED)
                await tab.go(address)
                await tab.until(f"document.querySelectorAll('g[data-node]').length === {nodes}")
                before, began = await tab.ask("return [window.frames_, Date.now()]")
                _scene.go.set()
                await session.wait()
                after, ended = await tab.ask("return [window.frames_, Date.now()]")
                await tab.until(f"window.drawn.length >= {nodes}")
                drawn = dict(await tab.ask("return window.drawn"))
    seconds = (ended - began) / 1000
    ages = [drawn[name] - t * 1000 for name, t in _scene.ended.items()]
    return {
        "frames": (after - before) / seconds,
        "age": percentile(ages, 0.99),
        "changes": 2 * nodes / seconds,
    }


def _most_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _subjects(quick: bool, full: bool = False) -> tuple[Subject, Subject, Subject]:
    size = {"outputs": 10_000, "previews": 50} if quick else {"outputs": 100_000, "previews": 100}
    if full:
        size = {"outputs": 1_000_000, "previews": 500}
    return (
        Subject("previews", "benchmarks.page:previews", {"times": 10 if quick else 100}),
        Subject("large", "benchmarks.page:large", size),
        Subject("changing", "benchmarks.page:changing", {"nodes": 200 if quick else 1000}),
    )


def _crowd(quick: bool) -> dict[str, Any]:
    return {"seconds": 1.0 if quick else 10.0, "followers": FOLLOWERS}


def cases(quick: bool) -> list[Case]:
    """Return ours."""
    shown, large, graph = _subjects(quick)
    crowd = Subject("crowd", "benchmarks.crowd:both", _crowd(quick))
    return [
        Case("preview_p50", shown, "p50", "ms"),
        Case("preview_p99", shown, "p99", "ms"),
        Case("first_paint", large, "first", "s"),
        Case("process_mb", large, "process_mb", "MB"),
        Case("tab_mb", large, "tab_mb", "MB"),
        Case("frames", graph, "frames", "frames/s"),
        Case("age", graph, "age", "ms"),
        Case("report", large, "report", "s"),
        Case("report_mb", large, "report_mb", "MB"),
        # One build with followers beside another: the rate itself.
        Case("with_20_followers", crowd, "rate", "outputs/s"),
    ]


def measure(quick: bool, full: bool = False) -> Result:
    """Measure all of it. Raises ``NotMeasured`` where there is no browser."""
    look_for()
    subjects = _subjects(quick, full)
    figures = measure_in_turns(list(subjects), 1).figures
    large = subjects[1].arguments
    kept, crowd = in_pairs(1 if quick else FEWEST, _crowd(quick))
    return Result(
        name="page",
        unit="(ms, ms, s, MB, MB, frames/s, ms, s, MB, times)",
        asyncblock={
            "preview_p50": figures["previews"]["p50"],
            "preview_p99": figures["previews"]["p99"],
            "first_paint": figures["large"]["first"],
            "process_mb": figures["large"]["process_mb"],
            "tab_mb": figures["large"]["tab_mb"],
            "frames": figures["changing"]["frames"],
            "age": figures["changing"]["age"],
            "report": figures["large"]["report"],
            "report_mb": figures["large"]["report_mb"],
            "with_20_followers": kept.ratio,
        },
        must={
            "preview_p50": "<= 150 ms",
            "preview_p99": "<= 400 ms",
            "first_paint": "<= 1.5 s",
            "process_mb": "<= 250 MB",
            "tab_mb": "<= 200 MB",
            "frames": ">= 30 frames/s",
            "age": "<= 200 ms",
            "report": "<= 5 s",
            "report_mb": "<= 10 MB",
            "with_20_followers": ">= 0.95x of the pace without",
        },
        conditions={
            "session": f"{large['outputs']:,} outputs, {large['previews']:,} previews",
            "changes of states a second": round(figures["changing"]["changes"]),
            "with 20 followers": {
                "pace, outputs/s": RATE,
                "outputs/s": round(crowd["rate"]),
                "without": round(crowd["alone"]),
                # Fewer rounds have none.
                "interval": [round(kept.low, 3), round(kept.high, 3)] if kept.low else None,
                "rounds": kept.rounds,
                "mainframe's cores": round(crowd["mainframe_cpu"], 2),
                "mainframe's cores without": round(crowd["alone_cpu"], 2),
                "followers had all, s after the end": round(crowd["behind"], 2),
                "the tab": round(crowd["tab_behind"], 2),
            },
        },
    )
