#!/usr/bin/env bash
# Guess: pyarrow works without pandas, so pa.array([1, 2, 3]) leaves pandas alone.
# Seen, pyarrow 26.0.1 beside pandas 3.1.1: the first pa.array of a Python list imports the whole of pandas, to find out
#   whether the value is one of its types: half a second and more in the middle of a call, once in a process, and a
#   process that only wanted Arrow has pandas in its memory. pa.nulls(3) doesn't.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet pyarrow==26.0.1 pandas==3.1.1
"$place/venv/bin/python" - <<'PY'
import sys
import time

import pyarrow as pa

pa.nulls(3)
assert "pandas" not in sys.modules
began = time.perf_counter()
pa.array([1, 2, 3])
first = time.perf_counter() - began
began = time.perf_counter()
pa.array([1, 2, 3])
second = time.perf_counter() - began
print(f"pyarrow {pa.__version__}: first pa.array {first:.3f} s, second {second:.6f} s")
assert "pandas" in sys.modules, "pandas was imported"
assert first > 100 * second
PY
