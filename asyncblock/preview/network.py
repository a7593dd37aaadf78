"""Whether a page's scripts, styles or frames come from the network: a viewer without one shows nothing of it."""

from __future__ import annotations

import re
from typing import Any

from .yieldgil import yield_gil

__all__ = ["needs_of"]

_FROM_ELSEWHERE = re.compile(
    r"""(?:<|&lt;)(?:script|link|iframe)\b[^>]{0,400}?\b(?:src|href)\s*=\s*(?:["']|&quot;|&\#34;|&\#x27;)?(?:https?:)?//
    |(?:\.src\s*=|\bfetch\(|\bWorker\(|\bimports["'&;a-z\#0-9]*\s*:\s*\{[^<]{0,400}?)\s*(?:["'`]|&quot;|&\#34;|&\#x27;)https?://
    |@import\s+url\(\s*https?://
    |\b(?:import|require|load|from|paths)\w*[^;\n<]{0,200}?(?:["'`]|&quot;|&\#34;|&\#x27;)https?://""",
    re.IGNORECASE | re.VERBOSE,
)

_WINDOW = 128 << 10
"""Characters that are searched at once: the search holds the GIL."""

_OVERLAP = 1000


def needs_of(html: str) -> dict[str, Any]:
    """Return what a payload says of a page: ``{"needs": ["network"]}``, or nothing."""
    for start in range(0, len(html), _WINDOW):
        if _FROM_ELSEWHERE.search(html, start, start + _WINDOW + _OVERLAP):
            return {"needs": ["network"]}
        yield_gil()
    return {}
