"""Show one value of a kind."""

from __future__ import annotations

import asyncio
from typing import Any

from asyncblock import Context
from asyncblock.examples.kinds import KINDS, missing


async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, list[str]]:
    kind = KINDS[inputs["kind"]]
    absent = missing(kind)
    if absent:
        await ctx.send_warning(f"{inputs['kind']} isn't shown: {', '.join(absent)} isn't installed")
    else:
        # Some libraries take seconds to be imported.
        await ctx.preview(await asyncio.to_thread(kind.make))
    return {"skipped": absent}
