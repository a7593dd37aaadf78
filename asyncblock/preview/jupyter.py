"""What an object offers to Jupyter: all its representations are kept, the best one for simple pages is ``data``.

The payload is ``{"type", "data", "mime_type", "mime"}``: ``data`` in ``mime_type``; ``mime`` holds the others by media
type, as Jupyter's bundles do (pictures in base64), and is left out when there are none.
"""

from __future__ import annotations

import inspect
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..pieces import dumps_pieces
from ..values import Encoded
from .cells import safe_repr, sendable
from .limits import Limits
from .picture import data_url
from .turns import let_go

__all__ = ["as_json", "bundle_of", "json_of", "payload_of", "shown"]

_METHODS = {
    "_repr_html_": "text/html",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_markdown_": "text/markdown",
    "_repr_json_": "application/json",
    "_repr_latex_": "text/latex",
}

_KINDS = {
    "text/html": "html",
    "image/svg+xml": "image",
    "image/png": "image",
    "image/jpeg": "image",
    "text/markdown": "markdown",
    "application/json": "json",
    "text/latex": "text",
    "text/plain": "text",
}
"""The kind of payload that shows a media type, the best first."""


def shown(value: Any, limits: Limits) -> dict[str, Any]:
    """Return a payload by what an object offers to Jupyter, or by its ``repr``.

    Raises ``PreviewFailed`` when all that it offers raises.
    """
    bundle, problems = bundle_of(value)
    if not bundle and problems:
        raise PreviewFailed("; ".join(problems))
    return payload_of(bundle, limits) if bundle else {"type": "text", "data": safe_repr(value, limits.text)}


def bundle_of(value: Any) -> tuple[dict[str, Any], list[str]]:
    """Return an object's representations by media type, and what went wrong."""
    # By the type, as Python's own protocols: an object with a ``__getattr__`` may answer to anything.
    kind = type(value)
    bundle: dict[str, Any] = {}
    problems: list[str] = []
    for method, media_type in (("_repr_mimebundle_", ""), *_METHODS.items()):
        if not callable(getattr(kind, method, None)):
            continue
        try:
            made = _offered(getattr(value, method), media_type)
        except Exception as problem:
            problems.append(f"its {method} raised {type(problem).__name__}: {problem}")
            continue
        # With its metadata it is a pair.
        made = made[0] if isinstance(made, tuple) and made else made
        if made is None:
            continue
        if media_type:
            bundle.setdefault(media_type, made)
        elif isinstance(made, Mapping):
            bundle.update((str(key), each) for key, each in made.items() if each is not None)
    return bundle, problems


def _offered(method: Any, media_type: str) -> Any:
    if media_type:
        return method()
    # IPython passes what it wants and doesn't want; some methods insist, others take nothing.
    try:
        inspect.signature(method).bind(include=None, exclude=None)
    except (TypeError, ValueError):
        return method()
    return method(include=None, exclude=None)


def payload_of(bundle: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return a payload of a mime bundle; what is too large or isn't JSON is left out, and if that is all, told."""
    kept: dict[str, Any] = {}
    out: list[str] = []
    for media_type, made in bundle.items():
        try:
            size = _size(made, limits.bytes)
        except UnserializableValue as problem:
            out.append(f"its {media_type}: {problem}")
            continue
        if size > limits.bytes:
            count = f"{size:,} bytes" if isinstance(made, (str, bytes, bytearray)) else "more bytes"
            out.append(f"its {media_type} has {count}; the limit is {limits.bytes:,} bytes")
        else:
            kept[media_type] = sendable(made) if isinstance(made, str) else made
    best = next((media_type for media_type in _KINDS if media_type in kept), None)
    if best is None:
        payload: dict[str, Any] = {"type": "text", "data": "; ".join(out) or f"only as {', '.join(kept)}"}
    else:
        payload = {"type": _KINDS[best], "data": _data(best, kept.pop(best)), "mime_type": best}
    if kept:
        payload["mime"] = {media_type: _in_bundle(made) for media_type, made in kept.items()}
    return payload


def _size(made: Any, limit: int) -> int:
    if isinstance(made, (str, bytes, bytearray)):
        return len(made)
    size = 0
    for piece in dumps_pieces(made):
        size += len(piece)
        let_go()
        if size > limit:
            break
    return size


def _data(media_type: str, made: Any) -> Any:
    if media_type == "image/svg+xml":
        return data_url(made.encode() if isinstance(made, str) else bytes(made), media_type)
    if media_type.startswith("image/"):
        return data_url(b64decode(made) if isinstance(made, str) else bytes(made), media_type)
    return made if media_type == "application/json" else _text(made)


def _in_bundle(made: Any) -> Any:
    return b64encode(made).decode("ascii") if isinstance(made, (bytes, bytearray)) else made


def _text(made: Any) -> str:
    return made.decode("utf-8", "replace") if isinstance(made, (bytes, bytearray)) else str(made)


def as_json(value: Any, limits: Limits) -> dict[str, Any]:
    """Return a plain value as JSON, or say how large it is. Raises ``UnserializableValue``."""
    made = json_of(value, limits)
    if made is not None:
        return {"type": "json", "data": made}
    count = f" of {len(value)}" if hasattr(value, "__len__") else ""
    text = f"<{type(value).__name__}{count}: more than {limits.bytes:,} bytes of JSON>"
    return {"type": "text", "data": text}


def json_of(value: Any, limits: Limits) -> Encoded | None:
    """Encode a value, letting other threads run; None when it is too large. Raises ``UnserializableValue``."""
    pieces: list[bytes] = []
    size = 0
    for piece in dumps_pieces(value):
        pieces.append(piece)
        size += len(piece)
        let_go()
        if size > limits.bytes:
            return None
    return Encoded(b"".join(pieces).replace(b"\n", b""))
