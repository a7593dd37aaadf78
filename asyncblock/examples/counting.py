"""The blocks of the example service, and their flow. What a session in flight needs stands here, and nothing else."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, TypedDict

import asyncblock
from asyncblock import Context, Flow

__all__ = ["count", "counting", "split"]


class Text(TypedDict):
    text: str
    pause: float


class Words(TypedDict):
    words: list[str]


@asyncblock.block
async def split(inputs: Text, ctx: Context) -> Words:
    """Cut a text into words, a line at a time; ``pause`` makes it slow enough to watch."""
    lines = inputs["text"].splitlines()
    words: list[str] = []
    for number, line in enumerate(lines, 1):
        words += line.lower().split()
        await ctx.report_progress(100 * number / len(lines))
        await asyncio.sleep(inputs["pause"])
    return {"words": words}


@asyncblock.block
def count(inputs: Words, ctx: Context) -> dict[str, Any]:
    """Count the words; an ordinary function, so it runs in a worker thread."""
    return {"counts": dict(Counter(inputs["words"]).most_common(10))}


def counting() -> Flow:
    """The flow of this service's own."""
    flow = Flow("counting")
    words = flow.node(split, {"text": flow.input("text"), "pause": flow.input("pause", value=0)})
    flow.output("counts", flow.node(count, {"words": words["words"]})["counts"])
    return flow
