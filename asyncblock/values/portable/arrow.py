"""What is Arrow already, pyarrow's and polars': Arrow's own stream of record batches."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any, Final

from .portableforms import Blocks, Form, FormSink, NotPortable, Pack, Unpack, pack, unpack

__all__ = ["UNPACK", "arrow_of", "arrow_to", "way_of"]


def way_of(value: Any) -> Pack | None:
    """Return how a value of pyarrow's or polars' is taken apart."""
    if type(value).__module__.partition(".")[0] == "polars":
        return _POLARS.get(type(value).__name__)
    pyarrow: Any = sys.modules["pyarrow"]
    if type(value) is pyarrow.Table:
        return lambda table, sink: ["table", _written(table.schema, table.to_batches, table.nbytes, sink)]
    if type(value) is pyarrow.RecordBatch:
        return lambda batch, sink: ["batch", _written(batch.schema, lambda: [batch], batch.nbytes, sink)]
    if isinstance(value, (pyarrow.ChunkedArray, pyarrow.Array)):
        return lambda array, sink: ["arrow", arrow_to(array, sink)]
    return None


# ---------------------------------------------------------------------- pyarrow


def _written(schema: Any, batches: Any, size: int, sink: FormSink) -> Form:
    pyarrow: Any = importlib.import_module("pyarrow")
    for field in schema:
        _check(field.type, pyarrow)

    def write(file: Any) -> None:
        with pyarrow.ipc.new_stream(file, schema) as stream:
            for batch in batches():
                stream.write_batch(batch)

    return sink.arrow(size, write)


def _check(kind: Any, pyarrow: Any) -> None:
    """Raises ``NotPortable`` for a type that means something only where somebody has registered it."""
    if isinstance(kind, pyarrow.ExtensionType):
        raise NotPortable(f"the Arrow type {kind.extension_name!r} is one that this process has registered")
    inner = [getattr(kind, name, None) for name in ("value_type", "key_type", "item_type", "storage_type")]
    if pyarrow.types.is_struct(kind) or pyarrow.types.is_union(kind):
        inner += [kind.field(place).type for place in range(kind.num_fields)]
    for each in inner:
        if isinstance(each, pyarrow.DataType):
            _check(each, pyarrow)


def arrow_to(array: Any, sink: FormSink) -> Form:
    """Write an Arrow array, in chunks or not."""
    pyarrow: Any = importlib.import_module("pyarrow")
    whole = isinstance(array, pyarrow.Array)
    chunks = [array] if whole else array.chunks
    schema = pyarrow.schema([pyarrow.field("v", array.type)])

    def batches() -> list[Any]:
        return [pyarrow.RecordBatch.from_arrays([chunk], schema=schema) for chunk in chunks]

    return [whole, _written(schema, batches, array.nbytes, sink)]


def arrow_of(form: Form, blocks: Blocks) -> Any:
    """Return an Arrow array."""
    pyarrow: Any = importlib.import_module("pyarrow")
    whole, place = form
    reader = _reader(place, blocks)
    chunks = [batch.column(0) for batch in reader]
    return chunks[0] if whole else pyarrow.chunked_array(chunks, type=reader.schema.field(0).type)


def _reader(place: Form, blocks: Blocks) -> Any:
    pyarrow: Any = importlib.import_module("pyarrow")
    return pyarrow.ipc.open_stream(pyarrow.py_buffer(blocks.raw(place)))


def _table(form: list[Any], blocks: Blocks) -> Any:
    return _reader(form[1], blocks).read_all()


def _batch(form: list[Any], blocks: Blocks) -> Any:
    return next(iter(_reader(form[1], blocks)))


# ---------------------------------------------------------------------- polars


def _polars(value: Any, sink: FormSink) -> list[Any]:
    return ["polars", "frame", _columns(value, sink)]


def _polars_series(value: Any, sink: FormSink) -> list[Any]:
    return ["polars", "series", pack(value.name, sink), _columns(value.to_frame(), sink)]


def _columns(frame: Any, sink: FormSink) -> Form:
    polars: Any = sys.modules["polars"]
    for name, kind in frame.schema.items():
        if (why := _stays(kind, polars)) is not None:
            raise NotPortable(f"column {name!r} {why}")
    newest = polars.CompatLevel.newest()
    # A frame without columns has rows, too, in newer versions, and its stream has none.
    size = int(frame.estimated_size())

    def write(file: Any) -> None:
        frame.write_ipc_stream(file, compression="uncompressed", compat_level=newest)

    return [frame.height, frame.width, sink.arrow(size, write)]


def _stays(kind: Any, polars: Any) -> str | None:
    """Return why values of a type aren't had in another process; None where they are."""
    if kind == polars.Object:
        return "holds Python objects"
    if isinstance(kind, getattr(polars, "BaseExtension", ())):
        return f"has the type {kind}, which this process has registered"
    if isinstance(kind, polars.Array) and 0 in kind.shape:
        return "has arrays without items, which polars writes and doesn't read"
    inner = getattr(kind, "inner", None)
    parts = [field.dtype for field in getattr(kind, "fields", None) or ()] if inner is None else [inner]
    return next((why for part in parts if (why := _stays(part, polars)) is not None), None)


def _of_polars(form: list[Any], blocks: Blocks) -> Any:
    polars: Any = importlib.import_module("polars")
    height, width, place = form[-1]
    frame = polars.read_ipc_stream(io.BytesIO(blocks.raw(place))) if width else _empty(polars, height)
    return frame.to_series().rename(unpack(form[2], blocks)) if form[1] == "series" else frame


def _empty(polars: Any, height: int) -> Any:
    # Rows without columns are known to newer versions only.
    return polars.DataFrame(height=height) if height else polars.DataFrame()


_POLARS: Final[dict[str, Pack]] = {"DataFrame": _polars, "Series": _polars_series}

UNPACK: Final[dict[str, Unpack]] = {
    "table": _table,
    "batch": _batch,
    "arrow": lambda form, blocks: arrow_of(form[1], blocks),
    "polars": _of_polars,
}
