"""Sessions as files: outputs, previews with their suffixes, logs, events, and a directory that is whole or isn't there."""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
import pytest

from asyncblock.errors import RemoteProtocolError, Unavailable
from asyncblock.report import export
from asyncblock.report.written import file_name, files_of, frame_of

from .made import Made

PNG = b"\x89PNG\r\n\x1a\nrest"
URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


async def test_everything_that_came_of_a_session_is_a_file(tmp_path: Path) -> None:
    made = Made("a/b", "../c", "..")
    made.record("a/b", "BlockLog", log="hello", stdio="stdout")
    made.record("../c", "BlockLog", log="there", stdio="stderr")
    made.preview("a/b", {"type": "image", "data": URL}, id="p")
    made.preview("a/b", {"type": "html", "data": "<p>", "mime": {"application/vnd.plotly.v1+json": {"data": []}}})
    made.preview("a/b", {"type": "text", "data": "large" * 20_000})
    made.end(table=[{"n": 1, "s": "x"}, {"n": 2, "s": "y"}], odd=[{"n": 1}, {"m": 2}])
    found = await export(made.recording(), tmp_path / "out")
    assert found.word == "succeeded"
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert names == [
        "events.jsonl", "logs/a_b.txt", "logs/c.txt", "outputs/odd.json", "outputs/table.frame.parquet",
        "outputs/table.json", "previews/0001-a_b-p.png", "previews/0002-a_b-html.html",
        "previews/0002-a_b-html.plotly.json", "previews/0003-a_b-text.txt", "session.json",
    ]  # fmt: skip
    assert (tmp_path / "out" / "previews" / "0001-a_b-p.png").read_bytes() == PNG
    lines = (tmp_path / "out" / "events.jsonl").read_bytes().splitlines()
    assert orjson.loads(lines[0])["type"] == "SessionStarted" and orjson.loads(lines[-1])["type"] == "SessionFinished"
    assert "hello" in (tmp_path / "out" / "logs" / "a_b.txt").read_text()
    summary = orjson.loads((tmp_path / "out" / "session.json").read_bytes())
    assert summary["previews"][0]["files"] == ["previews/0001-a_b-p.png"]
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "out" / "outputs" / "table.frame.parquet")
    assert table.to_pydict() == {"n": [1, 2], "s": ["x", "y"]}
    with pytest.raises(Unavailable, match="is there already"):
        await export(made.recording(), tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


async def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    made = Made("a")
    made.rows.append((99, [b"no JSON"]))
    with pytest.raises(RemoteProtocolError, match="row 99 of session made"):
        await export(made.recording(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("payload", "ends"), [
    ({"type": "image", "data": ["<svg/>", URL]}, ["-1.svg", "-2.png"]),
    ({"type": "group", "data": [{"type": "text", "data": "x", "title": "a b"}, {"type": "json", "data": 1}]}, ["-1-a_b.txt", "-2.json"]),
    ({"type": "table", "data": {"columns": ["a"], "rows": [[1], [{"b": 2}]]}}, [".csv"]),
    ({"type": "audio", "data": "data:audio/wav;base64,AAAA"}, [".wav"]),
    ({"type": "image", "data": "https://elsewhere/x.png"}, [".txt"]),
    ({"type": "text/csv", "data": "a,b"}, [".csv"]),
    (["no payload"], [".json"]),
])  # fmt: skip
def test_previews_have_the_right_suffixes(payload: object, ends: list[str]) -> None:
    assert [end for end, _ in files_of(payload)] == ends


def test_names_are_names_of_files_and_frames_are_found() -> None:
    assert file_name("../../etc/passwd", "a\x00b", "ü" * 300) == "etc_passwd-a_b"
    assert file_name("..") == "_" and len(file_name("x" * 500)) < 100
    assert frame_of({"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}) == {"a": [1, 3], "b": [2, 4]}
    assert (
        frame_of([{"a": 1}, {"b": 1}]) is None
        and frame_of([]) is None
        and frame_of({"columns": [1], "rows": [[1, 2]]}) is None
    )
