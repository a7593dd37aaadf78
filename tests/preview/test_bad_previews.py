"""What can't be shown: a warning with the reason, in bounded time and memory, and the run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ..flows import all_of, end_of, run_block, warnings_of

HEAD = """
import dataclasses
import io
import threading
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from matplotlib.figure import Figure
from PIL import Image
from asyncblock.preview import Limits

class Offers:
    def __init__(self, **made):
        self.made = made
    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.made.get("bundle")
    def _repr_html_(self):
        made = self.made.get("html")
        return made() if callable(made) else made

def raises():
    raise LookupError("no markup")

released = threading.Event()

def hangs():
    released.wait()

def picture(format, **options):
    file = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype("uint8")
    Image.fromarray(noise).save(file, format, **options)
    return file.getvalue()

def opened(data):
    return Image.open(io.BytesIO(data))

def circle(made, add):
    add(made, made)
    return made

@dataclasses.dataclass
class Node:
    next: object = None

def column(cell):
    cells = pd.Series([1] * 3, dtype=object)
    cells.iat[1] = cell
    return pd.DataFrame({"a": cells})
"""

WARNINGS = {
    "raises": ("Offers(html=raises)", "its _repr_html_ raised LookupError: no markup"),
    "hangs": ("Offers(html=hangs)", "it took longer than 0.5 s"),
    "a number": ("Offers(html=5)", "its text/html is a int, neither text nor bytes"),
    "a list": ("Offers(html=['<b>'])", "its text/html is a list, neither text nor bytes"),
    "a huge number for a picture": ("Offers(bundle={'image/gif': 10**12})", "its image/gif is a int"),
    "a gigabyte": ("Offers(html=bytes(10**9))", "its text/html has 1,000,000,000 bytes; the limit is 8,388,608 bytes"),
    "a gigabyte of picture": ("Offers(bundle={'image/png': bytes(10**9)})", "its image/png has 1,000,000,000 bytes"),
    "a gigabyte of numbers": ("Offers(bundle={'application/json': np.zeros(10**8)})", "has more bytes; the limit is"),
    "no base64": ("Offers(bundle={'image/png': '!!!!'})", "its image/png is no base64"),
    "part of base64": ("Offers(bundle={'image/png': 'iVBORw0KGgo'})", "its image/png is no base64"),
    "base64 of text": ("Offers(bundle={'image/png': 'aGVsbG8='})", "its image/png is no picture: its 5 bytes are"),
    "no vectors": ("Offers(bundle={'image/svg+xml': '<html>'})", "its image/svg+xml is no SVG"),
    "a cut PNG": ("picture('PNG')[:5000]", "only a part of a picture: after 5,000 bytes its end is missing"),
    "a cut JPEG": ("picture('JPEG')[:5000]", "only a part of a picture"),
    "a cut GIF": ("picture('GIF')[:5000]", "only a part of a picture"),
    "a cut WebP": ("picture('WEBP')[:5000]", "only a part of a picture"),
    "a typed cut PNG": ("{'type': 'image', 'data': picture('PNG')[:99]}", "only a part of a picture"),
    "a cut image of Pillow's": ("opened(picture('PNG')[:5000])", "truncated"),
    "a broken image of Pillow's": ("opened(picture('PNG')[:100] + bytes(5000))", "a preview of PngImageFile failed"),
    "a list in itself": ("circle([1], list.append)", "it contains itself"),
    "a dict in itself": ("circle({}, lambda made, each: made.update(a=each))", "it contains itself"),
    "a node of itself": ("circle(Node(), lambda made, each: setattr(made, 'next', each))", "it contains itself"),
    "figures in themselves": ("circle([Figure()], list.append)", "more than 8 times"),
    "a method that ends the process": ("Offers(html=lambda: exit(3))", "it raised SystemExit"),
}


async def test_what_cannot_be_shown_is_a_warning_with_the_reason(tmp_path: Path) -> None:
    values = ", ".join(source for source, _ in WARNINGS.values())
    found = await run_block(
        tmp_path,
        f"""{HEAD}
async def main(inputs, ctx):
    for number, value in enumerate([{values}]):
        await ctx.preview(value, limits=Limits(seconds=0.5) if number == 1 else None)
        await ctx.preview(number)
    released.set()
    return {{"out": 1}}
""",
        workers=1,
    )
    assert end_of(found).outputs == {"out": 1}
    assert [each.payload["data"] for each in all_of(found, events.BlockPreview)] == list(range(len(WARNINGS)))
    told = warnings_of(found)
    assert len(told) == len(WARNINGS)
    wrong = {
        name: warning
        for (name, (_, words)), warning in zip(WARNINGS.items(), told, strict=True)
        if words not in warning
    }
    assert wrong == {}


SHOWN = {
    "a frame that has itself": ("column(circle([], list.append))", "table"),
    "10,000 columns": ("pd.DataFrame(np.zeros((1000, 10_000)))", "table"),
    "10,000 columns of an array": ("np.zeros((1000, 10_000))", "table"),
    "10,000 columns of objects": ("pd.DataFrame([['x'] * 10_000] * 100)", "table"),
    "10,000 columns of polars": ("pl.DataFrame({str(n): [n] * 100 for n in range(10_000)})", "table"),
    "10,000 columns of Arrow": ("pa.table({str(n): [n] * 100 for n in range(10_000)})", "table"),
    "an array of itself": (
        "circle(np.array([None, 1], dtype=object), lambda made, each: made.__setitem__(0, each))",
        "table",
    ),
    "one that starts threads": (
        "Offers(html=lambda: [threading.Thread(target=hangs, daemon=True).start() for _ in range(50)] and '<b>')",
        "html",
    ),
}


@pytest.mark.parametrize(("source", "kind"), SHOWN.values(), ids=SHOWN)
async def test_what_is_odd_is_shown_in_bounded_time(source: str, kind: str, tmp_path: Path) -> None:
    found = await run_block(
        tmp_path,
        f"""{HEAD}
import time
async def main(inputs, ctx):
    value = {source}
    began = time.thread_time()
    await ctx.preview(value)
    released.set()
    return {{"out": time.thread_time() - began}}
""",
        workers=1,
    )
    # On the block's own loop.
    assert end_of(found).outputs["out"] < 0.1
    [preview] = all_of(found, events.BlockPreview)
    assert (preview.about or preview.payload)["type"] == kind
    assert warnings_of(found) == []
    if "columns" in source or "10_000" in source:
        assert preview.pages is not None
        table = (preview.payload or {"data": {"columns": [0] * 201}})["data"]
        assert len(table["columns"]) == 201
