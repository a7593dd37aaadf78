"""Previews and values as files: names that any file system takes, and the right suffixes."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64decode
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import orjson

__all__ = ["file_name", "files_of", "frame_of", "parquet", "plain"]

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[\w=.+-]+)*);base64,(.*)\Z", re.DOTALL)

_SUFFIXES: Final = {
    "image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "image/bmp": ".bmp",
    "image/avif": ".avif", "image/svg+xml": ".svg", "audio/mpeg": ".mp3", "audio/flac": ".flac", "audio/ogg": ".ogg",
    "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mp4": ".m4a", "video/mp4": ".mp4", "video/webm": ".webm",
    "video/x-msvideo": ".avi", "text/html": ".html", "text/markdown": ".md", "text/csv": ".csv", "text/plain": ".txt",
    "application/json": ".json", "application/pdf": ".pdf", "text/latex": ".tex",
}  # fmt: skip

_OF_KINDS: Final = {"html": ".html", "markdown": ".md", "csv": ".csv", "text": ".txt"}

_LEVELS = 5
_NAME = 60


def file_name(*parts: str) -> str:
    """Return a file's name made of a name that people have given."""
    kept = (re.sub(r"[^\w.-]+", "_", part, flags=re.ASCII).strip("._-")[:_NAME] for part in parts)
    made = "-".join(each for each in kept if each)
    return made or "_"


def plain(value: Any) -> Any:
    """Return a stand-in for a value that orjson doesn't know."""
    return str(value)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=plain, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"


def files_of(payload: Any, level: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a preview: the end of each name, which begins with what tells several apart, and its bytes."""
    kind = payload.get("type") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(kind, str) or "data" not in payload:
        yield ".json", _json(payload)
        return
    data = payload["data"]
    if kind == "group" and isinstance(data, list) and level < _LEVELS:
        for number, each in enumerate(data, 1):
            title = each.get("title") if isinstance(each, dict) else None
            for end, content in files_of(each, level + 1):
                yield f"-{number}{'-' + file_name(title) if isinstance(title, str) else ''}{end}", content
        return
    if isinstance(data, list) and kind == "image":
        for number, each in enumerate(data, 1):
            end, content = _one(kind, each)
            yield f"-{number}{end}", content
    else:
        yield _one(kind, data)
    beside = payload.get("mime")
    for media_type, each in beside.items() if isinstance(beside, dict) else ():
        if str(media_type).endswith("+json"):
            name = "plotly" if "plotly" in media_type else "vega" if "vega" in media_type else "spec"
            yield f".{name}.json", each.encode("utf-8", "replace") if isinstance(each, str) else _json(each)


def _one(kind: str, data: Any) -> tuple[str, bytes]:
    if isinstance(data, str):
        found = _DATA_URL.match(data)
        if found is not None:
            try:
                return _SUFFIXES.get(found[1], ".bin"), b64decode(found[3])
            except ValueError:
                pass
        text = data.encode("utf-8", "replace")
        if kind == "image" and data.lstrip().startswith(("<svg", "<?xml")):
            return ".svg", text
        return _OF_KINDS.get(kind, _SUFFIXES.get(kind, ".txt")), text
    if kind == "table" and isinstance(data, dict) and isinstance(data.get("rows"), list):
        return ".csv", _csv(data)
    return ".json", _json(data)


def _csv(data: dict[str, Any]) -> bytes:
    made = io.StringIO()
    writer = csv.writer(made)
    if isinstance(data.get("columns"), list):
        writer.writerow(data["columns"])
    for row in data["rows"]:
        cells = row if isinstance(row, list) else [row]
        writer.writerow([_json(each).decode().strip() if isinstance(each, (dict, list)) else each for each in cells])
    return made.getvalue().encode("utf-8", "replace")


def frame_of(value: Any) -> dict[str, list[Any]] | None:
    """Return the columns of a value that is a frame: records of the same fields, or columns and rows."""
    if isinstance(value, dict) and isinstance(value.get("columns"), list):
        rows = value.get("rows", value.get("data"))
        names = [str(each) for each in value["columns"]]
        if not isinstance(rows, list) or not names or len(set(names)) < len(names):
            return None
        if all(isinstance(row, list) and len(row) == len(names) for row in rows):
            return {name: [row[index] for row in rows] for index, name in enumerate(names)}
        return None
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        names = list(value[0])
        if names and all(set(each) == set(names) for each in value):
            return {str(name): [each[name] for each in value] for name in names}
    return None


def parquet(columns: dict[str, list[Any]]) -> bytes | None:
    """Return a frame as Parquet; None where pyarrow isn't installed, or can't give its columns one type each."""
    if find_spec("pyarrow") is None:
        return None
    pyarrow, writer = import_module("pyarrow"), import_module("pyarrow.parquet")
    made = pyarrow.BufferOutputStream()
    try:
        writer.write_table(pyarrow.table(columns), made)
    except (pyarrow.ArrowException, TypeError, OverflowError):
        return None
    return bytes(made.getvalue())
