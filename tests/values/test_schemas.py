"""Values against their handles' schemas."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest

from asyncblock.values.schemas import misfits

NUMBER = {"type": "number", "maximum": 10}


@pytest.mark.parametrize(
    ("schema", "value", "nullable", "words"),
    [
        (NUMBER, 3, False, None),
        (NUMBER, "3", False, '"3" is not of type "number"'),
        (NUMBER, 11, False, "11 is greater than the maximum of 10"),
        (NUMBER, None, True, None),
        (NUMBER, None, False, 'null is not of type "number"'),
        (True, {"anything": 1}, False, None),
        (False, 1, False, "False schema"),
        (None, 1, False, None),
        ({"contentMediaType": "oomol/var", "type": "string"}, 1, False, None),
        (
            {"type": "object", "properties": {"a": {"items": {"type": "string"}}}},
            {"a": ["x", 1]},
            False,
            'at a[1]: 1 is not of type "string"',
        ),
        ({"type": "nonsense"}, 1, False, "its schema is no JSON schema that can be used"),
        ({"$ref": "http://localhost:1/other.json"}, 1, False, "can't be used|can't refer|its schema is no JSON schema"),
    ],
)
def test_a_value_fits_its_schema_or_the_words_say_where_not(
    schema: object, value: object, nullable: bool, words: str | None
) -> None:
    definition = {"handle": "x", "nullable": nullable, **({} if schema is None else {"json_schema": schema})}
    found = misfits([definition], {"x": orjson.dumps(value), "undeclared": b"1"})
    if words is None:
        assert found == {}
    else:
        assert any(part in found["x"] for part in words.split("|")), found


def test_many_problems_of_one_value_are_cut() -> None:
    definition = {"handle": "x", "json_schema": {"items": {"type": "string"}}}
    words = misfits([definition], {"x": orjson.dumps(["y" * 10_000, *range(100)])})["x"]
    assert words.endswith("and more")
    assert len(words) < 1000


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['jsonschema_rs'] = None\n"
        "from asyncblock.values.schemas import misfits\n"
        "misfits([{'handle': 'x', 'json_schema': {}}], {'x': b'1'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "install asyncblock[schema]" in done.stderr
