"""``python -m tests.preview.gallery``: write the table of docs/previews.md by showing every kind."""

from __future__ import annotations

import argparse
import io
from base64 import b64decode
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from asyncblock.examples.kinds import KINDS, missing

from ..showing import show

PAGE = Path(__file__).parents[3] / "docs" / "previews.md"
BEGIN, END = "<!-- kinds: written by python -m tests.preview.gallery -->\n", "<!-- end of kinds -->\n"


def main() -> None:
    """Show every kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.preview.gallery", description=__doc__)
    parser.add_argument("sheet", nargs="?", help="a PNG file to write a contact sheet of the pictures among them to")
    sheet: str | None = parser.parse_args().sheet
    shown = {name: show(kind.make()) for name, kind in KINDS.items() if not missing(kind)}
    lacking = {name for kind in KINDS.values() for name in missing(kind)}
    if lacking:
        raise SystemExit(f"the table needs every library, pip install '.[gallery]'; not installed: {lacking}")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{_table(shown)}{END}{rest.partition(END)[2]}")
    if sheet is not None:
        _sheet(shown).save(sheet)


def _table(shown: dict[str, dict[str, Any]]) -> str:
    lines = ["| kind | library | preview | what is shown | what isn't |", "|---|---|---|---|---|"]
    for name, made in shown.items():
        kind = KINDS[name]
        needs = ", needs the network" if "needs" in made else ""
        libraries = ", ".join(kind.libraries)
        lines.append(f"| {name} | {libraries} | {made['type']}{needs} | {kind.shown} | {kind.left_out} |")
    return "\n".join(lines) + "\n"


def _sheet(shown: dict[str, dict[str, Any]]) -> Image.Image:
    urls = [(name, url) for name, made in shown.items() for url in _pictures(made)]
    sheet = Image.new("RGB", (4 * 300, (len(urls) + 3) // 4 * 260), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, url) in enumerate(urls):
        picture = Image.open(io.BytesIO(b64decode(url.partition(",")[2]))).convert("RGB")
        picture.thumbnail((280, 230))
        left, top = number % 4 * 300, number // 4 * 260
        sheet.paste(picture, (left + 10, top + 22))
        draw.text((left + 10, top + 5), name, fill="black")
    return sheet


def _pictures(made: dict[str, Any]) -> list[str]:
    """Return what is drawn of a preview, also the picture beside a chart."""
    if made["type"] == "image":
        urls = made["data"] if isinstance(made["data"], list) else [made["data"]]
        # Which Pillow doesn't read.
        return [url for url in urls if not url.startswith("data:image/svg+xml")]
    beside = made.get("mime", {}).get("image/png")
    return [] if beside is None else [f"data:image/png;base64,{beside}"]


if __name__ == "__main__":
    main()
