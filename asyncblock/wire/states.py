"""The state machine of a connection, as a table. This file doesn't know which side we are.

All transitions live here. ``RECEIVE[role][state][op]`` is the state after the end in that role received the message; a
missing key *is* the protocol error. ``chunk`` stands for a binary message, ``batch`` for a batch of records.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from ..errors import RemoteProtocolError

__all__ = ["RECEIVE", "ConnectionState", "Role", "advance"]


class Role(Enum):
    """Which end of the link."""

    LOWER = "executor or client"
    UPPER = "mainframe"


class ConnectionState(Enum):
    """How far a connection has come."""

    GREETING = "greeting"
    """Hello or Welcome hasn't come yet."""
    OPEN = "open"
    CLOSED = "closed"
    """Bye has come; nothing else may."""


_GREETING, _OPEN, _CLOSED = ConnectionState.GREETING, ConnectionState.OPEN, ConnectionState.CLOSED

RECEIVE: Final[Mapping[Role, Mapping[ConnectionState, Mapping[str, ConnectionState]]]] = {
    Role.UPPER: {
        _GREETING: {"hello": _OPEN, "bye": _CLOSED},
        _OPEN: {
            "batch": _OPEN,
            "chunk": _OPEN,
            "whole": _OPEN,
            "discard": _OPEN,
            "ping": _OPEN,
            "stalled": _OPEN,
            "gone": _OPEN,
            "announce": _OPEN,
            "request": _OPEN,
            "read": _OPEN,
            "unread": _OPEN,
            "fetch": _OPEN,
            "bye": _CLOSED,
        },
        _CLOSED: {},
    },
    Role.LOWER: {
        _GREETING: {"welcome": _OPEN, "bye": _CLOSED},
        _OPEN: {
            "ack": _OPEN,
            "kept": _OPEN,
            "ping": _OPEN,
            "dispatch": _OPEN,
            "cancel": _OPEN,
            "spawn": _OPEN,
            "unspawn": _OPEN,
            "close": _OPEN,
            "session_ended": _OPEN,
            "release": _OPEN,
            "live": _OPEN,
            "export": _OPEN,
            "carry": _OPEN,
            "service_message": _OPEN,
            "refused": _OPEN,
            "reply": _OPEN,
            "page": _OPEN,
            "fetched": _OPEN,
            "chunk": _OPEN,
            "bye": _CLOSED,
        },
        _CLOSED: {},
    },
}


def advance(role: Role, state: ConnectionState, op: str) -> ConnectionState:
    """Return the state after receiving ``op``; ``RemoteProtocolError`` when it may not come here."""
    after = RECEIVE[role][state].get(op)
    if after is None:
        raise RemoteProtocolError(f"{op!r} can't come while the connection is {state.value}")
    return after
