from __future__ import annotations

import io
from base64 import b64encode, encodebytes
from collections import deque, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import polars as pl
import pytest
from matplotlib.figure import Figure
from PIL import Image

from asyncblock.errors import LocalProtocolError, PreviewFailed

from .showing import picture, show

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y,z"]})
TABLE = {"rows": [[1, "x"], [2, "y,z"]], "columns": ["a", "b"], "row_count": 2}


Row = namedtuple("Row", "a b")


def encoded(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, format)
    return file.getvalue()


Image.init()
PICTURES: dict[str, Any] = {
    "a figure": Figure(),
    "its axes": Figure().subplots(),
    "an image": Image.new("RGB", (3, 2)),
    "colours": np.zeros((2, 3, 3), "uint8"),
    "numbers": np.arange(6.0).reshape(2, 3),
    "channels first": np.zeros((3, 20, 30)),
    "PNG": encoded("PNG"),
    "JPEG": encoded("JPEG"),
    "GIF": encoded("GIF"),
    "WebP": bytearray(encoded("WEBP")),
    "BMP": encoded("BMP"),
    **({"AVIF": encoded("AVIF")} if "AVIF" in Image.SAVE else {}),  # since Pillow 11.3
    "ICO": encoded("ICO"),
    "TIFF": encoded("TIFF"),
    "JPEG 2000": encoded("JPEG2000"),
    "an array of axes": Figure().subplots(2, 2),
    "a file in memory": io.BytesIO(encoded("PNG")),
    "base64": b64encode(encoded("PNG")).decode(),
    "base64 in lines": encodebytes(encoded("BMP")).decode(),
    "SVG": '<svg xmlns="http://www.w3.org/2000/svg"/>',
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES)
def test_an_image_is_made_of(data: Any) -> None:
    made = show({"type": "image", "data": data, "k": 1})
    assert made["type"] == "image" and made["k"] == 1
    assert made["data"].startswith("data:image/")


def test_formats_that_browsers_lack_are_shown_as_png() -> None:
    for format in ("TIFF", "JPEG2000"):
        assert picture(show({"type": "image", "data": encoded(format)})["data"]).size == (3, 2)
        assert picture(show(encoded(format))["data"]).size == (3, 2)
    assert show(io.BytesIO(encoded("GIF")))["data"].startswith("data:image/gif;base64,")


def test_an_open_file_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    with path.open("rb") as file:
        file.seek(7)
        assert picture(show({"type": "image", "data": file})["data"]).size == (3, 2)
        assert file.tell() == 7
    assert show({"type": "csv", "data": io.StringIO("a,b")}) == {"type": "csv", "data": "a,b"}


def test_a_batch_of_pictures_is_several() -> None:
    made = show({"type": "image", "data": np.zeros((25, 2, 3, 3), "uint8")})
    assert len(made["data"]) == 20 and made["note"] == "the first 20 of 25"
    assert picture(made["data"][0]).size == (3, 2)


def test_numbers_that_are_no_picture_by_themselves_go_from_black_to_white() -> None:
    made = show({"type": "image", "data": np.array([[0.0, np.nan, 5.0], [np.inf, 10.0, -np.inf]])})
    assert np.asarray(picture(made["data"])).tolist() == [[0, 0, 127], [255, 255, 0]]
    assert made["note"] == "from 0 (black) to 10 (white)"


def test_a_file_of_a_picture_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    assert picture(show({"type": "image", "data": path})["data"]).size == (3, 2)
    assert (
        show({"type": "image", "data": [path, "https://example.org/x.png"]})["data"][1] == "https://example.org/x.png"
    )


NONE: dict[str, tuple[str, Any, str]] = {
    "image of a frame": ("image", FRAME, r"of type DataFrame \(shown as table\), of which no image can be made"),
    "image of nested lists": ("image", [[0, 1], [1, 0]], "nested lists, of which no image can be made"),
    "image of a number": ("image", 3, "of type int, of which no image"),
    "image of an object": ("image", object(), "of type object"),
    "image of other bytes": ("image", b"abc", "aren't image: they are of no format that is known"),
    "image of no file": ("image", Path("/nowhere/x.png"), "there is no file '/nowhere/x.png'"),
    "image of no file in memory": ("image", io.BytesIO(b"abc"), "aren't image: they are of no format that is known"),
    "image of a number of numpy's": ("image", np.int64(3), "of type int64, of which no image"),
    "image of lines of text": ("image", "a,b\n1,2\n", "a text of several lines, which is no address of image"),
    "image of a picture's half": ("image", encoded("TIFF")[:40], "image/tiff"),
    "image of a generator": ("image", (each for each in "ab"), "of type generator"),
    "table of a generator": ("table", (each for each in [[1]]), "of type generator"),
    "table of a picture's file": ("table", io.BytesIO(encoded("PNG")), r"\(shown as image\), of which no table"),
    "text of bytes": ("text", b"\0\1", "that are no text, of which no text can be made"),
    "csv of a picture's bytes": ("csv", encoded("PNG"), r"\(image/png\), of which no csv"),
    "iframe of no file": ("iframe", Path("/nowhere/x.html"), "there is no file '/nowhere/x.html'"),
    "image of a row": ("image", np.zeros(3), "an array of 3"),
    "table of a figure": ("table", Figure(), r"of type Figure \(shown as image\), of which no table"),
    "html of a list": ("html", [1], "of type list, of which no html"),
    "html of a picture's bytes": ("html", encoded("PNG"), r"\(image/png\), of which no html"),
    "html of a document's bytes": ("html", b"%PDF-1.7\n1 0 obj\n", r"\(application/pdf\), of which no html"),
    "json of a figure": ("json", Figure(), "at data can't be sent: JSON has no form for Figure$"),
    "video of a picture": ("video", encoded("PNG"), "aren't video: they are image/png"),
    "audio of an array": ("audio", np.zeros(3), "of type ndarray, of which no audio"),
    "csv of an object": ("csv", object(), "of which no csv"),
}


@pytest.mark.parametrize(("kind", "data", "words"), NONE.values(), ids=NONE)
def test_what_cannot_be_made_is_said(kind: str, data: Any, words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        show({"type": kind, "data": data})


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        pl.DataFrame({"a": [1, 2], "b": ["x", "y,z"]}),
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y,z"}],
        {"a": [1, 2], "b": ["x", "y,z"]},
        {"a": range(1, 3), "b": deque(["x", "y,z"])},
        [Row(1, "x"), Row(2, "y,z")],
        [SimpleNamespace(a=1, b="x"), SimpleNamespace(a=2, b="y,z")],
        FRAME.style,
    ],
    ids=["pandas", "polars", "records", "columns", "other columns", "named tuples", "namespaces", "styled"],
)
def test_a_table_is_made_of(data: Any) -> None:
    assert show({"type": "table", "data": data}) == {"type": "table", "data": TABLE}
    assert show({"type": "csv", "data": data})["data"] == 'a,b\n1,x\n2,"y,z"\n'


def test_a_table_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\n1\tx\n2\n")
    made = {"type": "table", "data": {"columns": ["a", "b"], "rows": [["1", "x"], ["2", None]], "row_count": 2}}
    assert show({"type": "table", "data": path}) == made
    assert show({"type": "table", "data": "a,b\n1,x\n2\n"}) == made
    assert show({"type": "table", "data": {}})["data"] == {"columns": [], "rows": [], "row_count": 0}


def test_json_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = '[{"a": 1, "b": 0.5, "c": ["\u00e9", null, true, NaN]}, {"a": 2}]'
    path.write_text(text)
    said = [{"a": 1, "b": 0.5, "c": ["é", None, True, None]}, {"a": 2}]
    for data in (path, text.encode(), bytearray(text.encode())):
        assert show({"type": "json", "data": data}) == {"type": "json", "data": said}
    table = show({"type": "table", "data": path})["data"]
    assert table["columns"] == ["a", "b", "c"] and table["rows"][1] == [2, None, None]
    assert show({"type": "json", "data": text}) == {"type": "json", "data": text}


@pytest.mark.parametrize("kind", ["json", "table"])
@pytest.mark.parametrize("text", ["{", "1 2", "[" * 100_000, "\u00e9"], ids=["cut", "two", "deep", "text"])
def test_a_file_of_json_that_is_none_says_so(kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(PreviewFailed, match="its data is no JSON"):
        show({"type": kind, "data": path})
    with pytest.raises(PreviewFailed, match="there is no file"):
        show({"type": kind, "data": tmp_path / "y.json"})
    with pytest.raises(PreviewFailed, match="more than the limit of 1,000 bytes"):
        path.write_text(" " * 2000)
        show({"type": kind, "data": path}, bytes=1000)


def test_csv_of_plain_rows_has_no_head_of_ours() -> None:
    assert show({"type": "csv", "data": [["a", "b"], [1, "x,y"]]})["data"] == 'a,b\n1,"x,y"\n'
    assert show({"type": "csv", "data": []})["data"] == ""


def test_a_page_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    path.write_text("<b>x</b>")
    assert show({"type": "iframe", "data": path}) == {"type": "html", "data": "<b>x</b>"}


@pytest.mark.parametrize("kind", ["iframe", "html", "text", "markdown"])
def test_a_document_of_another_kind_is_no_page_and_no_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n")
    with pytest.raises(LocalProtocolError, match=rf"\(application/pdf\), of which no {kind}"):
        show({"type": kind, "data": path})


@pytest.mark.parametrize("kind", ["text", "html", "markdown", "csv", "table", "iframe"])
def test_a_file_that_is_no_text_is_no_text(kind: str, tmp_path: Path) -> None:
    for data in (encoded("PNG"), b"PAR1\0\1\2"):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(LocalProtocolError, match=f"of which no {kind} can be made"):
            show({"type": kind, "data": tmp_path / "x"})


def test_a_long_list_of_rows_is_cut_like_a_frame() -> None:
    rows = show({"type": "table", "data": [[n, object()] for n in range(100)]})["data"]
    assert rows["row_count"] == 100 and len(rows["rows"]) == 11 and rows["rows"][5] == ["...", "..."]
    assert rows["rows"][0] == [0, "<object>"]


def test_html_is_made_of_what_is_shown_otherwise() -> None:
    assert show({"type": "html", "data": Figure()})["data"].startswith('<img src="data:image/png;base64,')
    assert "<td>y,z</td>" in show({"type": "html", "data": FRAME})["data"]
    assert "Plotly.newPlot" in show({"type": "html", "data": go.Figure()})["data"]
    assert show({"type": "html", "data": b"<b>"})["data"] == "<b>"


def test_markdown_is_made_of_what_is_shown_otherwise() -> None:
    assert show({"type": "markdown", "data": Figure()})["data"].startswith("![](data:image/png;base64,")
    assert show({"type": "markdown", "data": FRAME})["data"].startswith("| a | b |\n| --- | --- |\n")


def test_the_json_of_a_chart_is_its_specification() -> None:
    chart = alt.Chart(FRAME).mark_point().encode(x="a")
    assert show({"type": "json", "data": go.Figure(go.Scatter(y=[1]))})["data"]["data"][0]["type"] == "scatter"
    assert show({"type": "json", "data": chart})["data"]["mark"] == {"type": "point"}


@pytest.mark.parametrize("kind", ["text", "markdown", "html", "csv"])
def test_a_file_of_text_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("é" * 100)
    assert show({"type": kind, "data": path}) == {"type": kind, "data": "é" * 100}
    made = show({"type": kind, "data": path}, bytes=11)
    assert made["data"] == "é" * 5 + "..." and "the first 5" in made["note"]


@pytest.mark.parametrize(
    "value", [{"type": "FeatureCollection", "features": []}, {"type": "electric"}, {"type": "electric", "data": 1}]
)
def test_a_dict_that_merely_has_a_type_is_json(value: dict[str, Any]) -> None:
    assert show(value) == {"type": "json", "data": value}
