"""JSON that every reader takes as the same, and JSON that they don't."""

from __future__ import annotations

import orjson
import pytest

from asyncblock.wire.plain import not_plain

HUGE = "an integer of more than 64 bits"
TWICE = "a key twice"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":1}', None),
        ('{ "a" : [1, 2.50] }', None),
        ('{"a": 18446744073709551615, "b": -9223372036854775808}', None),
        ('{"a": "1: 99999999999999999999, \\"b\\": 1"}', None),
        ('{"a": 18446744073709551616}', HUGE),
        ('{"a": -9223372036854775809}', HUGE),
        ('{"a": 123456789012345678901234567890}', HUGE),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', TWICE),
    ],
)
def test_what_readers_may_take_differently_is_told(text: str, why: str | None) -> None:
    found = not_plain(text.encode(), orjson.loads(text))
    assert found is None if why is None else why in str(found)
