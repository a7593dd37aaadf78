from __future__ import annotations

import hashlib
from typing import Any


async def main(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the digest of the digest before and the piece."""
    before, piece = inputs["before"], inputs["piece"]
    sha256 = hashlib.sha256((before["sha256"] + piece).encode()).hexdigest()
    return {"digest": {"sha256": sha256, "pieces": before["pieces"] + 1}}
