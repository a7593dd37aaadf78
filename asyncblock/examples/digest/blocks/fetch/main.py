from __future__ import annotations

import importlib.util
from pathlib import Path

from asyncblock import Context

PIECE = 16 << 10
"""Characters that the source gives at a time."""


async def main(inputs: dict[str, str], ctx: Context) -> None:
    """Send the file's text; what an attempt has sent that didn't finish never goes on."""
    name = inputs["module"]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {name!r} here")
    text = Path(spec.origin).read_text("utf-8")
    for start in range(0, len(text), PIECE):
        if start and ctx.attempt < 3:
            raise ConnectionError(f"the source broke down after {start} characters (attempt {ctx.attempt})")
        await ctx.output(text[start : start + PIECE], "piece")
