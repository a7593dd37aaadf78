#!/usr/bin/env bash
# Guess: orjson refuses integers beyond 64 bits both ways: dumps raises for them, so loads raises too (or gives an int, as
#   the standard library does).
# Seen, orjson 3.13.0: dumps(2**64) raises JSONEncodeError, loads(b"18446744073709551616") gives the float
#   1.8446744073709552e+19, without a word. Ids of more than 64 bits come out changed, and what was read can't be told
#   from a number that was written as 1.8446744073709552e19.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet orjson==3.13.0
"$place/venv/bin/python" - <<'PY'
import json

import orjson

text = b'{"id": 123456789012345678901234567890}'
try:
    orjson.dumps(2**64)
except orjson.JSONEncodeError as error:
    print("dumps:", error)
else:
    raise SystemExit("dumps takes it")
read = orjson.loads(text)["id"]
print("loads:", repr(read), "json.loads:", json.loads(text)["id"])
assert type(read) is float and int(read) != json.loads(text)["id"]
assert type(orjson.loads(b"18446744073709551615")) is int
assert type(orjson.loads(b"-9223372036854775809")) is float
PY
