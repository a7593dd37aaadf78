from __future__ import annotations

import pytest

from asyncblock.errors import RemoteProtocolError
from asyncblock.wire.messages import MESSAGES
from asyncblock.wire.states import RECEIVE, ConnectionState, Role, advance


def test_every_op_of_the_protocol_may_come_somewhere() -> None:
    ops = {op for states in RECEIVE.values() for row in states.values() for op in row}
    assert ops == set(MESSAGES) | {"batch", "chunk"}


@pytest.mark.parametrize("role", Role)
def test_nothing_may_come_after_a_goodbye(role: Role) -> None:
    state = advance(role, ConnectionState.OPEN, "bye")
    assert state is ConnectionState.CLOSED
    for op in MESSAGES:
        with pytest.raises(RemoteProtocolError):
            advance(role, state, op)


@pytest.mark.parametrize(("role", "op"), [(Role.UPPER, "hello"), (Role.LOWER, "welcome")])
def test_the_greeting_comes_first_and_once(role: Role, op: str) -> None:
    assert advance(role, ConnectionState.GREETING, op) is ConnectionState.OPEN
    with pytest.raises(RemoteProtocolError, match="can't come while"):
        advance(role, ConnectionState.OPEN, op)
    with pytest.raises(RemoteProtocolError):
        advance(role, ConnectionState.GREETING, "ping")
