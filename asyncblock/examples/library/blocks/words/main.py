"""Hand on each word, once."""

from __future__ import annotations

from typing import Any

from asyncblock import Context


async def main(inputs: dict[str, Any], ctx: Context) -> None:
    for word in dict.fromkeys(word.strip().lower() for word in inputs["words"]):
        if not word.isidentifier():
            raise ValueError(f"{word!r} is no word that can be looked for: letters, digits and _ only")
        await ctx.output(word, "word")
