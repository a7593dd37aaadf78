"""Show one value of a kind."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncblock import Context
from asyncblock.examples.kinds import KINDS, missing

one_at_a_time = asyncio.Lock()
"""Libraries look whether others are loaded (plotly for pandas), and break on those whose import isn't finished."""


async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, list[str]]:
    kind = KINDS[inputs["kind"]]
    absent = missing(kind)
    if absent:
        await ctx.send_warning(f"{inputs['kind']} isn't shown: {', '.join(absent)} isn't installed")
    else:
        async with one_at_a_time:
            # Some libraries take seconds to be imported.
            made = await asyncio.to_thread(kind.make)
        await ctx.preview(made)
    return {"skipped": absent}
