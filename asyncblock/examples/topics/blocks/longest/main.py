from __future__ import annotations

from typing import Any


async def main(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the longer one."""
    longest = max(inputs["best"], inputs["topic"], key=lambda each: (each["words"], each["topic"]))
    return {"longest": longest}
