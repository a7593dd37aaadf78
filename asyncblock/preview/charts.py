"""Charts that a browser draws, by their specification: JSON for which a viewer loads one copy of the library.

The HTML beside it loads the library from the network, and says so.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from ..errors import UnserializableValue
from ..values import Encoded, dumps
from .jupyter import encoded
from .limits import Limits

__all__ = ["chart_payload", "too_many"]


def chart_payload(specification: Any, media_type: str, page: str, limits: Limits) -> dict[str, Any]:
    """Return a chart. In ``page`` PLACE and SPECIFICATION are replaced. Raises ``UnserializableValue``.

    The specification is encoded once, piece by piece, and put into the page as it is.
    """
    try:
        made = encoded(specification, limits.bytes)
    except UnserializableValue:
        # Pandas' intervals, say: as their text.
        made = encoded(_spelled_out(specification), limits.bytes)
    if made is None:
        return {"type": "text", "data": f"a chart with a specification of more than {limits.bytes:,} bytes of JSON"}
    html = page.replace("PLACE", f"chart-{uuid4().hex}").replace("SPECIFICATION", _in_script(made))
    return {
        "type": "html",
        "data": html,
        "mime_type": "text/html",
        "mime": {media_type: made},
        "needs": ["network"],
    }


def _spelled_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _spelled_out(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled_out(each) for each in value]
    try:
        dumps(value)
    except UnserializableValue:
        return str(value)
    return value


def _in_script(made: Encoded) -> str:
    """Return JSON as a script has it: no text in it may end the script."""
    return made.data.replace(b"</", b"<\\/").replace(b"<!--", b"<\\u0021--").decode()


def too_many(what: str, count: int, limits: Limits) -> dict[str, Any]:
    """Return words for a chart that isn't drawn."""
    return {"type": "text", "data": f"a {what} of {count:,} points; the limit is {limits.points:,} points"}
