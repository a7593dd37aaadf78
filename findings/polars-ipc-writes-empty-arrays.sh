#!/usr/bin/env bash
# Guess: what polars writes as Arrow IPC without a word, the same polars reads: a frame with a column of Array(Int64, 0),
#   arrays of a fixed width that have no items, comes back as it was, as it does by way of Parquet.
# Seen, polars 2.1.0: write_ipc and write_ipc_stream write it, and return; read_ipc and read_ipc_stream raise
#   ComputeError ("not yet implemented: Cannot read zero sized arrays from IPC"). By way of Parquet it is equal. Whoever
#   hands frames to other processes as IPC learns it in the process that reads, when the one that wrote has gone on.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet polars==2.1.0
"$place/venv/bin/python" - <<'PY'
import io

import polars


def there_and_back(write, read):
    file = io.BytesIO()
    write(file)
    length = file.tell()
    file.seek(0)
    try:
        return f"{length} bytes, " + ("equal" if read(file).equals(frame) else "not equal")
    except polars.exceptions.ComputeError as error:
        return f"{length} bytes, not read: {error}"


frame = polars.DataFrame({"a": polars.Series([[], [], []], dtype=polars.Array(polars.Int64, 0))})
found = {
    "IPC": there_and_back(frame.write_ipc, polars.read_ipc),
    "IPC stream": there_and_back(frame.write_ipc_stream, polars.read_ipc_stream),
    "Parquet": there_and_back(frame.write_parquet, polars.read_parquet),
}
print(frame.schema, *(f"{way}: {what}" for way, what in found.items()), sep="\n")
assert "zero sized arrays" in found["IPC"] and "zero sized arrays" in found["IPC stream"]
assert found["Parquet"].endswith("equal") and "not" not in found["Parquet"]
PY
