from __future__ import annotations

from typing import Any


async def main(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the total with one file more."""
    total, file = inputs["total"], inputs["file"]
    longest = max(total["longest"], [file["name"], file["lines"]], key=lambda each: (each[1], each[0]))
    return {
        "total": {
            "files": total["files"] + 1,
            "lines": total["lines"] + file["lines"],
            "functions": total["functions"] + file["functions"],
            "longest": longest,
        }
    }
