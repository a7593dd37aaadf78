#!/usr/bin/env bash
# Guess: the bytes that orjson.dumps returns take about as much memory as they are long, so a queue of encoded messages
#   that is bounded by the sum of their lengths is bounded in memory.
# Seen, orjson 3.13.0 with CPython 3.11: each result keeps all of the buffer that it was written into. 28 bytes of JSON
#   hold 4 KiB of resident memory for as long as they are kept, 1,900 bytes hold 16 KiB by tracemalloc's count. len() and
#   sys.getsizeof() say nothing of it. bytes(memoryview(result)) has the right size.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet orjson==3.13.0
"$place/venv/bin/python" - <<'PY'
import sys
import tracemalloc

import orjson


def held(make):
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [make() for _ in range(1000)]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) // len(kept), kept


for size in (20, 900, 1900):
    value = {"a": "x" * size}
    as_it_comes, kept = held(lambda: orjson.dumps(value))
    copied, _ = held(lambda: bytes(memoryview(orjson.dumps(value))))
    told = sys.getsizeof(kept[0])
    print(f"{len(kept[0])} bytes of JSON: getsizeof says {told}, held {as_it_comes}, copied {copied}")
    assert copied < told + 50
    assert as_it_comes > 4 * told
PY
