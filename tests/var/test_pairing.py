"""Each output is its own value: what a consumer's job has is what first in, first out says, for var as for JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asyncblock
from asyncblock import Context, Flow
from asyncblock.client import Mainframe

VAR = {"contentMediaType": "oomol/var"}
BOTH: list[dict[str, Any]] = [{"handle": "v", "json_schema": VAR}, {"handle": "j"}]
HANDLES = ("v", "j")

SIDES = ("left", "right")


class Frame:
    """A value that JSON can't carry."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass
class Stage:
    """What happens when: the sources put out what they are told to, and consumers go on when they may."""

    orders: dict[str, asyncio.Queue[str]] = field(default_factory=lambda: {name: asyncio.Queue() for name in SIDES})
    done: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    leave: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    seen: list[tuple[str, ...]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)


stage = Stage()


@asyncblock.block(outputs=BOTH)
async def left(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any] | None:
    return await put_out("left", ctx)


@asyncblock.block(outputs=BOTH)
async def right(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any] | None:
    return await put_out("right", ctx)


async def put_out(name: str, ctx: Context) -> dict[str, Any] | None:
    """Put out numbered values as the stage orders them."""
    sent = dict.fromkeys(HANDLES, 0)

    def next_of(handle: str) -> Any:
        text = f"{name} {sent[handle]}"
        sent[handle] += 1
        return Frame(text) if handle == "v" else {"name": text}

    while True:
        match await stage.orders[name].get():
            case "":
                return None
            case "result":
                return {handle: next_of(handle) for handle in HANDLES}
            case "outputs":
                await ctx.outputs({handle: next_of(handle) for handle in HANDLES})
            case handle:
                await ctx.output(next_of(handle), handle)
        stage.done.put_nowait(None)


@asyncblock.block(inputs=[{"handle": name} for name in ("lv", "lj", "rv", "rj")])
async def pair(inputs: Mapping[str, Any]) -> None:
    def names() -> tuple[str, ...]:
        return inputs["lv"].name, inputs["lj"]["name"], inputs["rv"].name, inputs["rj"]["name"]

    seen = names()
    await stage.leave.acquire()
    # After the wait too: nothing may change under a job that runs.
    assert seen == names()
    stage.seen.append(seen)


@asyncblock.block(inputs=[{"handle": "v"}])
async def alone(inputs: Mapping[str, Any]) -> None:
    stage.alone.append(inputs["v"].name)
    await stage.leave.acquire()


orders = st.lists(st.tuples(st.sampled_from(SIDES), st.sampled_from(["v", "j", "outputs", "let go"])), max_size=24)
ends = st.tuples(st.sampled_from(["", "result"]), st.sampled_from(["", "result"]))


def counts(given: list[tuple[str, str]], ended: tuple[str, str]) -> dict[str, int]:
    """Return how many values each source puts out on each handle."""
    made = dict.fromkeys([side + handle for side in SIDES for handle in HANDLES], 0)
    for side, what in [*given, *zip(SIDES, ended, strict=True)]:
        for handle in HANDLES if what in ("outputs", "result") else (what,):
            if side + handle in made:
                made[side + handle] += 1
    return made


async def play(mainframe: Mainframe, given: list[tuple[str, str]], ended: tuple[str, str], concurrency: int) -> Stage:
    global stage
    stage = Stage()
    flow = Flow("pairs")
    one, other = flow.node(left), flow.node(right)
    inputs = {"lv": one["v"], "lj": one["j"], "rv": other["v"], "rj": other["j"]}
    flow.node(pair, inputs, concurrency=concurrency)
    flow.node(alone, {"v": one["v"]})
    session = await mainframe.start(flow)
    for side, what in given:
        if what == "let go":
            stage.leave.release()
        else:
            stage.orders[side].put_nowait(what)
            await stage.done.get()
    for side, what in zip(SIDES, ended, strict=True):
        stage.orders[side].put_nowait(what)
    for _ in range(2 * len(given) + 4):
        stage.leave.release()
    end = await session.wait()
    assert end.state == "succeeded", end.error
    return stage


def test_every_job_has_the_values_that_first_in_first_out_says(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        mainframe = runner.run(stack.enter_async_context(asyncblock.embedded(tmp_path)))

        @settings(suppress_health_check=list(HealthCheck), max_examples=40, deadline=None)
        @given(given=orders, ended=ends, concurrency=st.integers(1, 3))
        def check(given: list[tuple[str, str]], ended: tuple[str, str], concurrency: int) -> None:
            found = runner.run(play(mainframe, given, ended, concurrency))
            made = counts(given, ended)
            expected = [(f"left {n}", f"left {n}", f"right {n}", f"right {n}") for n in range(min(made.values()))]
            assert (found.seen if concurrency == 1 else sorted(found.seen, key=lambda e: int(e[0][5:]))) == expected
            assert found.alone == [f"left {n}" for n in range(made["leftv"])]

        try:
            check()
        finally:
            runner.run(stack.aclose())
