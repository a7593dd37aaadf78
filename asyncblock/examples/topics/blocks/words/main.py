from __future__ import annotations

from pydoc_data.topics import topics
from typing import Any

from asyncblock import Context


async def main(inputs: dict[str, str], ctx: Context) -> None:
    """Send the topic and its number of words together, so that they stay a pair."""
    name = inputs["item"]
    if name not in topics:
        raise ValueError(f"Python has no help topic {name!r}")
    words = len(topics[name].split())
    pair: dict[str, Any] = {"result": {"topic": name, "words": words}, "size": words}
    await ctx.outputs(pair)
