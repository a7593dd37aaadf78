"""Pictures, sounds, films and web pages, made of what an author says is one: ``{"type": "image", "data": X}``."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from ..errors import PreviewFailed
from .authorfiles import contents_of, whole_of
from .jupyter import bundle_of, is_offering
from .limits import Limits
from .network import needs_of
from .picture import Pixels
from .pillow import opened
from .renderer import Rendering
from .signatures import media_type_of, url_of
from .typedparts import Again, Maker, cannot, text_of
from .typedtexts import written
from .urls import data_url, from_base64

__all__ = ["iframe", "image", "media"]

_IMAGES = 20
"""Images of one payload that are shown."""


def image(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return the payload of one or several pictures; an array of four dimensions has several."""
    if getattr(data, "ndim", 0) == 4 and hasattr(type(data), "__array_interface__"):
        data = list(data)
    if isinstance(data, (list, tuple)) and not _is_matrix(data):
        made = [_one_image(each, limits, again) for each in data[:_IMAGES]]
        note = {"note": f"the first {_IMAGES} of {len(data):,}"} if len(data) > _IMAGES else {}
        return {"data": [url for each in made for url in _flat(each["data"])], **note}
    return _one_image(data, limits, again)


def _is_matrix(data: Any) -> bool:
    """Tell whether nested lists hold the numbers of one picture."""
    return bool(data) and isinstance(data[0], (list, tuple)) and bool(data[0]) and not isinstance(data[0][0], str)


def _flat(data: Any) -> list[Any]:
    return data if isinstance(data, list) else [data]


def _one_image(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    if isinstance(data, Rendering):
        return {"data": data}
    if isinstance(data, str):
        return {"data": _address(data, "image", limits)}
    data = whole_of(data, limits) if isinstance(data, os.PathLike) else contents_of(data, limits)
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = opened(data) or data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return {"data": url_of(data, "image", limits)}
    if data is None or isinstance(data, (int, float)) or getattr(data, "shape", None) == ():
        raise cannot("image", data)
    if hasattr(type(data), "__array_interface__") and hasattr(data, "dtype") and data.dtype != object:
        data = Pixels(data)
    elif isinstance(data, (list, tuple)):
        raise PreviewFailed("its data are nested lists, of which no image can be made; numpy.array(...) of them can")
    made = again(data)
    if is_offering(data) and made["type"] == "html":
        # The text is a picture's address and nothing else.
        address = re.fullmatch(r"""\s*<img\b[^>]*?\ssrc=["']([^"']+)["'][^>]*>\s*""", made["data"])
        if address is not None:
            return {"data": address[1]}
    if made["type"] == "image":
        return {name: each for name, each in made.items() if name != "type"}
    picture = _picture_beside(made, limits)
    if picture is None:
        raise cannot("image", _bare(data), f" (shown as {made['type']})")
    return {"data": picture}


def _address(text: str, kind: str, limits: Limits) -> str:
    """Return a text as an address: what is base64 of a picture, a sound or a film, or an SVG, becomes one."""
    text = text_of(text, kind, limits)
    if kind == "image" and media_type_of(text[:1000].encode()) == "image/svg+xml":
        return data_url(text.encode(), "image/svg+xml")
    try:
        media_type = media_type_of(b64decode("".join(text[:1000].split())[:400], validate=True))
    except ValueError:
        media_type = None
    if media_type is not None and media_type.partition("/")[0] == kind:
        return url_of(from_base64(text), kind, limits)
    if "\n" in text.strip() and not text.startswith("data:"):
        raise PreviewFailed(f"its data is a text of several lines, which is no address of {kind}")
    return text


def _bare(data: Any) -> Any:
    return data.array if isinstance(data, Pixels) else data


def _picture_beside(made: Mapping[str, Any], limits: Limits) -> str | Rendering | None:
    """Return a picture that travels beside a chart, as a data URL."""
    for media_type, each in made.get("mime", {}).items():
        if media_type == "image/svg+xml" or not media_type.startswith("image/"):
            continue
        if isinstance(each, Rendering):
            return Rendering(each.value, limits)
        return f"data:{media_type};base64,{each}"
    return None


def media(kind: str) -> Maker:
    """Return what makes a payload of a sound or a film."""

    def make(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
        if isinstance(data, str):
            return {"data": _address(data, kind, limits)}
        if isinstance(data, (bytes, bytearray, memoryview)):
            return {"data": url_of(data, kind, limits)}
        if isinstance(data, os.PathLike):
            return {"data": url_of(whole_of(data, limits), kind, limits)}
        return {"data": _source_of(data, kind, limits)}

    return make


def _source_of(data: Any, kind: str, limits: Limits) -> str:
    """Return the address that a display object (``IPython.display.Audio``, ``Video``, ``IFrame``) offers."""
    html = bundle_of(data, "text/html")[0].get("text/html") if is_offering(data) else None
    found = re.search(r"""<(?:iframe|source|audio|video)\b[^>]*?\ssrc=["']([^"']+)""", html) if html else None
    if found is None:
        raise cannot(kind, data)
    return text_of(found[1], kind, limits)


def iframe(data: Any, limits: Limits, again: Again) -> dict[str, Any]:
    """Return the address of a page, or the page."""
    if isinstance(data, str):
        return {"data": text_of(data, "iframe", limits)}
    if isinstance(data, os.PathLike):
        page = written(data, "iframe", limits)
        assert page is not None
        return {"type": "html", **page, **needs_of(page["data"])}
    try:
        return {"data": _source_of(data, "iframe", limits)}
    except PreviewFailed:
        made = again(data)
        if made["type"] != "html":
            raise
        return made
