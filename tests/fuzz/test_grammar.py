"""Messages that the schema allows, however odd: each has a documented answer, and no other link's state changes."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import jsonschema_rs
import orjson
import pytest

from asyncblock.wire.describe import json_schema

from .grammar import Grammar, fuzz
from .lower import Lines, fuzz_lower


@pytest.fixture
def quiet() -> Iterator[None]:
    """The gateway warns about each unreadable message."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_what_the_grammar_makes_is_valid() -> None:
    schema = json_schema()
    up = jsonschema_rs.validator_for({**schema, "anyOf": [{"$ref": "#/$defs/up"}]})
    records = jsonschema_rs.validator_for({**schema, "anyOf": [{"$ref": "#/$defs/records"}]})
    grammar = Grammar(random.Random(1))
    for _ in range(500):
        header, *data = grammar.line()
        line = orjson.loads(header)
        assert up.is_valid(line), [line, *map(str, up.iter_errors(line))]
        for each in data:
            assert records.is_valid(orjson.loads(each)), each


def test_what_the_odd_mainframe_says_is_valid() -> None:
    schema = json_schema()
    down = jsonschema_rs.validator_for({**schema, "anyOf": [{"$ref": "#/$defs/down"}]})
    lines = Lines(random.Random(1))
    for message in [lines.welcome(), *(lines.line()[0] for _ in range(500))]:
        line = orjson.loads(message)
        assert down.is_valid(line), [line, *map(str, down.iter_errors(line))]


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("quiet")
async def test_valid_but_odd_messages_have_documented_answers_and_change_no_other_link() -> None:
    seed = random.randrange(1 << 32)
    ends = await fuzz(seed, messages=20_000, seconds=12)
    assert ends["messages"] >= 100, (seed, ends)


@pytest.mark.timeout(120)
async def test_an_odd_mainframe_ends_its_own_link_by_a_documented_error_and_disturbs_no_other_one() -> None:
    seed = random.randrange(1 << 32)
    ends = await fuzz_lower(seed, messages=20_000, seconds=12)
    assert ends["messages"] >= 100, (seed, ends)
