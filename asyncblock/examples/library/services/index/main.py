"""The service: it reads the standard library's modules once and then answers calls."""

from __future__ import annotations

import asyncio
import re
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import Any

from asyncblock import Context
from asyncblock.executor import ServiceContext

WORD = re.compile(rb"\b[a-z_][a-z0-9_]+")


def read_library(root: Path) -> dict[str, list[str]]:
    """Return the modules in which each word stands; packages' inner modules are left out."""
    found: defaultdict[bytes, list[str]] = defaultdict(list)
    for path in sorted(root.glob("*.py")):
        for word in set(WORD.findall(path.read_bytes().lower())):
            found[word].append(path.stem)
    return {word.decode(): modules for word, modules in found.items()}


async def main(service: ServiceContext) -> None:
    service.waiting_ready_notify = True
    index: dict[str, list[str]] = {}

    async def find(inputs: dict[str, Any], ctx: Context) -> dict[str, Any]:
        word = inputs["word"]
        modules = index.get(word, [])
        await ctx.report_log(f"{word}: {len(modules)} modules")
        return {"answer": {"word": word, "modules": modules}}

    service.block_handler = {"find": find}
    # Reading takes a while; on a thread the executor's loop goes on, and calls wait until it is done.
    index.update(await asyncio.to_thread(read_library, Path(sysconfig.get_path("stdlib"))))
    service.notify_ready()
