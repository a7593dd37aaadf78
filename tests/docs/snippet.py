"""``python snippet.py FILE...``: run files one after the other in one namespace, with ``await`` at their top level."""

from __future__ import annotations

import ast
import asyncio
import sys
from pathlib import Path
from types import CodeType
from typing import Any


async def main(files: list[str]) -> None:
    """Run them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for file in files:
        text = Path(file).read_text("utf-8")
        code: CodeType = compile(text, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)
        if made is not None:
            await made


asyncio.run(main(sys.argv[1:]))
