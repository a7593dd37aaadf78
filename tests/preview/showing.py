"""What the tests of previews share."""

from __future__ import annotations

import io
from base64 import b64decode
from typing import Any

from PIL import Image

from asyncblock.preview import Limits, Making
from asyncblock.values import dumps, loads

__all__ = ["picture", "show"]


def show(payload: object, id: str | None = None, **limits: Any) -> dict[str, Any]:
    """Make a preview, and see that it is JSON."""
    made = Making(payload, id, Limits(**limits)).finish_blocking()
    again: dict[str, Any] = loads(dumps(made))
    return again


def picture(url: str) -> Any:
    """Read the picture of a data URL."""
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(b64decode(data)))
    image.load()
    return image
