"""The frames of an animation: figures that were pickled one after the other, drawn and put together as a GIF."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["Frames", "gif_of"]


@dataclass(frozen=True, slots=True)
class Frames:
    """Figures of this process on their way to its worker."""

    pickles: list[bytes]
    milliseconds: int
    """How long each is shown."""


def gif_of(
    frames: Frames, pixels: int, size: int, seen_of: Callable[[Any], Any], draw: Callable[[Any, int, Any], bytes]
) -> bytes:
    """Draw frames as a GIF that has no more pixels in each of them, and no more bytes in all.

    ``seen_of`` tells what has to be seen of a frame; all are drawn with what has to be seen of any, in one size.
    """
    # Matplotlib brings it along.
    images = import_module("PIL.Image")
    box = import_module("matplotlib.transforms").Bbox
    seen = box.union([seen_of(pickle.loads(each)) for each in frames.pickles])
    pixels = min(pixels, max(1, size // len(frames.pickles)))
    for _ in range(6):
        # The pickles are this process's or its parent's own.
        pngs = [draw(pickle.loads(each), pixels, seen) for each in frames.pickles]
        pictures = [images.open(io.BytesIO(png)).convert("RGB") for png in pngs]
        buffer = io.BytesIO()
        pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=frames.milliseconds, loop=0)
        if buffer.tell() <= size:
            return buffer.getvalue()
        pixels = max(1, int(pixels * size / buffer.tell() * 0.8))
    raise ValueError(f"its animation has more than {size:,} bytes however small it is drawn")
