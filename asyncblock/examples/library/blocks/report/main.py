"""Gather answers in what this node's jobs share."""

from __future__ import annotations

from typing import Any

from asyncblock import Context


async def main(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
    answer = inputs["answer"]
    gathered = ctx.flow_node_store.setdefault("gathered", {})
    gathered[answer["word"]] = answer["modules"]
    await ctx.preview(
        {
            "type": "table",
            "data": {"columns": ["word", "modules"], "rows": [[word, len(found)] for word, found in gathered.items()]},
        },
        id="gathered",
    )
    return {"modules": dict(sorted(gathered.items()))}
