"""The key that stands for a value of an executor's process."""

from __future__ import annotations

from typing import Any

import pytest

from asyncblock.wire.stored import StoreKey

KEY = StoreKey("asyncblock", "out", "job", "session", 1, 0, portable=80)


def test_a_key_comes_back() -> None:
    assert StoreKey.match(KEY.to_json()) == KEY


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"executor": "another"},
        {"executor": "asyncblock", "handle": "out"},
        {**KEY.to_json(), "more": 1},
        {**KEY.to_json(), "attempt": "1"},
    ],
)
def test_what_is_no_key_is_a_value_like_others(value: Any) -> None:
    assert StoreKey.match(value) is None
