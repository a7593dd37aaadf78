from __future__ import annotations

from typing import Any

from asyncblock import Context


async def main(inputs: dict[str, list[Any]], ctx: Context) -> None:
    """Send each item."""
    for done, item in enumerate(inputs["items"], 1):
        await ctx.output(item, "item")
        await ctx.report_progress(100 * done / len(inputs["items"]))
