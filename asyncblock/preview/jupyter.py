"""What an object offers to Jupyter: all its representations are kept, the best one for simple pages is ``data``.

The payload is ``{"type", "data", "mime_type", "mime"}``: ``data`` in ``mime_type``; ``mime`` holds the others by media
type, as Jupyter's bundles do (pictures in base64), and is left out when there are none.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sized
from typing import Any

from ..errors import PreviewFailed, UnserializableValue
from ..values import Encoded, dumps, loads
from ..values.pieces import dumps_pieces
from .cells import DOTS, sendable
from .heads import head_of, text_head
from .limits import Limits
from .network import needs_of
from .signatures import media_type_of
from .urls import data_url, from_base64
from .yieldgil import yield_gil

__all__ = [
    "as_json",
    "bundle_of",
    "encoded",
    "is_offering",
    "json_of",
    "payload_of",
    "shown",
    "text_payload",
]

_METHODS = {
    "_repr_html_": "text/html",
    "_repr_svg_": "image/svg+xml",
    "_repr_png_": "image/png",
    "_repr_jpeg_": "image/jpeg",
    "_repr_markdown_": "text/markdown",
    "_repr_json_": "application/json",
    "_repr_latex_": "text/latex",
    # What templates of web pages ask for: markupsafe's texts have it.
    "__html__": "text/html",
}

_KINDS = {
    "text/html": "html",
    "image/svg+xml": "image",
    "image/png": "image",
    "image/jpeg": "image",
    "image/gif": "image",
    "image/webp": "image",
    "image/avif": "image",
    "image/bmp": "image",
    "text/markdown": "markdown",
    "application/json": "json",
    "text/latex": "text",
    "text/plain": "text",
}
"""The kind of payload that shows a media type, the best first."""


_OF_A_KERNEL = ("application/vnd.jupyter.widget-view+json", "application/vnd.holoviews", "application/vnd.bokehjs")
"""Media types that mean nothing without the kernel that made them: ids of what lives there."""


def is_offering(value: object) -> bool:
    """Tell whether a value has methods for Jupyter."""
    # By the type, as Python's own protocols: an object with a ``__getattr__`` may answer to anything.
    kind = type(value)
    return any(callable(getattr(kind, method, None)) for method in ("_repr_mimebundle_", *_METHODS))


def shown(value: Any, limits: Limits) -> dict[str, Any] | None:
    """Return a payload by what an object offers to Jupyter; None when it offers nothing after all.

    Raises ``PreviewFailed`` when all that it offers raises.
    """
    bundle, problems = bundle_of(value)
    if not bundle and problems:
        raise PreviewFailed("; ".join(problems))
    return payload_of(bundle, limits) if bundle else None


def bundle_of(value: Any, only: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return an object's representations by media type, and what went wrong. Each is asked for once.

    With ``only`` no method that makes another one is called.
    """
    kind = type(value)
    bundle: dict[str, Any] = {}
    problems: list[str] = []
    for method, media_type in (("_repr_mimebundle_", ""), *_METHODS.items()):
        if media_type in bundle or (only and media_type not in ("", only)) or not callable(getattr(kind, method, None)):
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
            bundle[media_type] = made
        elif isinstance(made, Mapping):
            bundle.update((str(key), each) for key, each in made.items() if _is_of_use(str(key), each))
    return bundle, problems


def _is_of_use(media_type: str, made: object) -> bool:
    return made is not None and not media_type.startswith(_OF_A_KERNEL)


def _offered(method: Any, media_type: str) -> Any:
    if media_type:
        return method()
    # IPython passes what it wants and doesn't want; some methods insist, others take nothing.
    try:
        inspect.signature(method).bind(include=None, exclude=None)
    except (TypeError, ValueError):
        return method()
    return method(include=None, exclude=None)


def payload_of(bundle: Mapping[str, Any], limits: Limits, needs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a payload of a mime bundle; what is too large or isn't JSON is left out, and if that is all, told.

    A page says what it needs; ``needs`` is what is known of it already. Raises ``PreviewFailed`` when nothing of a
    bundle can be shown.
    """
    kept: dict[str, Any] = {}
    out: list[str] = []
    for media_type, made in bundle.items():
        # Not ``bytes(made)`` of whatever it is: of a large number that is as many zeros.
        is_text = (media_type in _KINDS and "json" not in media_type) or media_type.startswith("image/")
        if is_text and not isinstance(made, (str, bytes, bytearray)):
            out.append(f"its {media_type} is a {type(made).__name__}, neither text nor bytes")
            continue
        try:
            size = _size(made, limits.bytes)
        except UnserializableValue as problem:
            out.append(f"its {media_type}: {problem}")
            continue
        if size > limits.bytes:
            count = f"{size:,} bytes" if isinstance(made, (str, bytes, bytearray)) else "more bytes"
            out.append(f"its {media_type} has {count}; the limit is {limits.bytes:,} bytes")
            continue
        try:
            kept[media_type] = _checked(media_type, made)
        except ValueError as problem:
            out.append(f"its {media_type} is {problem}")
    best = next((media_type for media_type in _KINDS if media_type in kept), None)
    if not kept and out:
        raise PreviewFailed("; ".join(out))
    if best is None:
        payload: dict[str, Any] = {"type": "text", "data": f"only as {', '.join(kept)}"}
    else:
        payload = {"type": _KINDS[best], "data": _data(best, kept.pop(best)), "mime_type": best}
    if best == "text/html":
        payload.update(needs_of(payload["data"]) if needs is None else needs)
    if kept:
        payload["mime"] = {media_type: _in_bundle(made) for media_type, made in kept.items()}
    return payload


def _checked(media_type: str, made: Any) -> Any:
    """Return a representation, a picture as bytes. Raises ``ValueError`` for a picture that isn't one."""
    if media_type == "image/svg+xml":
        if ("<svg" if isinstance(made, str) else b"<svg") not in made[:_SVG_HEAD]:
            raise ValueError("no SVG")
    elif media_type.startswith("image/"):
        try:
            data = from_base64(made) if isinstance(made, str) else bytes(made)
        except ValueError as problem:
            raise ValueError(f"no base64: {problem}") from None
        known = media_type_of(data)
        if known is None or not known.startswith("image/"):
            raise ValueError(f"no picture: its {len(data):,} bytes are {known or 'of no format that is known'}")
        return data
    return sendable(made) if isinstance(made, str) else made


_SVG_HEAD = 64 << 10
"""Bytes in front of an SVG's first element: comments, a document type."""


def _size(made: Any, limit: int) -> int:
    if isinstance(made, (str, bytes, bytearray)):
        return len(made)
    size = 0
    for piece in dumps_pieces(made):
        size += len(piece)
        yield_gil()
        if size > limit:
            break
    return size


def _data(media_type: str, made: Any) -> Any:
    if media_type == "image/svg+xml":
        return data_url(made.encode() if isinstance(made, str) else bytes(made), media_type)
    if media_type.startswith("image/"):
        return data_url(made, media_type_of(made) or media_type)
    return made if media_type == "application/json" else _text(made)


def _in_bundle(made: Any) -> Any:
    return data_url(made, "").partition(",")[2] if isinstance(made, (bytes, bytearray)) else made


def _text(made: Any) -> str:
    return made.decode("utf-8", "replace") if isinstance(made, (bytes, bytearray)) else str(made)


def text_payload(text: str, limits: Limits) -> dict[str, Any]:
    """Return a text; of one that is too large the beginning."""
    shown = text_head(text, limits.bytes)
    if len(shown) == len(text):
        return {"type": "text", "data": sendable(str(text))}
    return {"type": "text", "data": sendable(shown) + DOTS, "note": _first(len(shown), len(text), "characters")}


def as_json(value: Any, limits: Limits) -> dict[str, Any]:
    """Return a value as JSON; of one that is too large the beginning. Raises ``UnserializableValue``."""
    made, note = json_of(value, limits)
    if isinstance(made, Encoded) and made.data[:1] == b'"':
        return {"type": "text", "data": loads(made.data), **note}
    return {"type": "json", "data": made, **note}


def json_of(value: Any, limits: Limits) -> tuple[Encoded, dict[str, str]]:
    """Encode a value, or the beginning of one that is too large, with a note that says so.

    Raises ``UnserializableValue``.
    """
    made = encoded(value, limits.bytes)
    if made is not None:
        return made, {}
    room = limits.bytes * 15 // 16
    while room > 1000:
        shown = head_of(value, room)
        made = encoded(shown, limits.bytes)
        if made is not None:
            return made, {"note": _cut(value, shown)}
        room //= 2
    return Encoded(dumps(f"a {type(value).__name__}")), {"note": f"more than {limits.bytes:,} bytes of JSON"}


def encoded(value: Any, limit: int) -> Encoded | None:
    """Encode a value, letting other threads run; None when it is larger. Raises ``UnserializableValue``."""
    pieces: list[bytes] = []
    size = 0
    for piece in dumps_pieces(value):
        pieces.append(piece)
        size += len(piece)
        yield_gil()
        if size > limit:
            return None
    return Encoded(b"".join(pieces).replace(b"\n", b""))


def _cut(value: Any, shown: Any) -> str:
    if isinstance(value, Sized) and isinstance(shown, Sized) and len(shown) < len(value):
        return _first(len(shown), len(value), "characters" if isinstance(value, str) else "items")
    return "longer parts are cut"


def _first(shown: int, count: int, what: str) -> str:
    return f"the first {shown:,} of {count:,} {what}"
