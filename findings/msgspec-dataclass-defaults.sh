#!/usr/bin/env bash
# Guess: a dataclass that msgspec makes equals one that its constructor makes, so whatever writes it afterwards sees every
#   field.
# Seen, msgspec 0.22.0 with orjson 3.13.0: for a dataclass without slots, msgspec leaves fields with a plain default out of
#   the instance's __dict__ when the input lacks them (reading finds the class's attribute, so == and repr and
#   dataclasses.asdict look right). orjson, vars(), pickle and msgspec's own encoder go by __dict__: the field is gone,
#   without a word. With slots=True, or default_factory, it is there.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet msgspec==0.22.0 orjson==3.13.0
"$place/venv/bin/python" - <<'PY'
import dataclasses

import msgspec
import orjson


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1
    notes: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Slotted:
    item: str
    count: int = 1


made, read = Order("tea"), msgspec.convert({"item": "tea"}, Order)
assert read == made and repr(read) == repr(made) and dataclasses.asdict(read) == dataclasses.asdict(made)
print("orjson, made by the constructor:", orjson.dumps(made).decode())
print("orjson, made by msgspec:        ", orjson.dumps(read).decode())
print("msgspec, made by msgspec:       ", msgspec.json.encode(read).decode())
assert orjson.loads(orjson.dumps(made)) == {"item": "tea", "count": 1, "notes": []}
assert orjson.loads(orjson.dumps(read)) == {"item": "tea", "notes": []}
assert msgspec.json.decode(msgspec.json.encode(read)) == {"item": "tea", "notes": []}
assert "count" not in vars(read)
assert orjson.loads(orjson.dumps(msgspec.convert({"item": "tea"}, Slotted))) == {"item": "tea", "count": 1}
PY
