"""What the page's requests and answers have in common: JSON, errors in words, and numbers in queries."""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import (
    AsyncBlockError,
    ConnectionLost,
    InvalidFlow,
    InvalidInputs,
    LocalProtocolError,
    PayloadTooLarge,
    Rejected,
    Unauthorized,
    Unavailable,
)
from .told import in_words, said

__all__ = ["answer_json", "form_of", "problem", "problem_of", "whole_number"]

_FORM: Final = 4 << 20
"""Bytes of a form: more than inputs may have."""

_DIGITS: Final = 18
"""Digits of a number in a query; places in journals have fewer."""


def answer_json(value: Any) -> Response:
    """Return an answer."""
    return Response(said(value), media_type="application/json")


def problem(words: str, status: int) -> Response:
    """Return what is said instead of an answer."""
    return Response(said({"error": words}), status, media_type="application/json")


def problem_of(error: AsyncBlockError) -> Response:
    """Return what is said of an error."""
    status = 502
    if isinstance(error, Unauthorized):
        status = 403
    elif isinstance(error, ConnectionLost):
        status = 503
    elif isinstance(error, (InvalidFlow, InvalidInputs, LocalProtocolError, PayloadTooLarge)):
        status = 400
    elif isinstance(error, (Unavailable, Rejected)):
        status = 404
    return problem(in_words(error), status)


def whole_number(text: str) -> int | None:
    """Return a number that isn't negative; None for anything else, or an absurdly large one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


async def form_of(request: Request) -> dict[str, Any] | None:
    """Return the object in a request's body; None if there is none, if it is too large, or if it broke off."""
    data = b""
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > _FORM:
                return None
        found = orjson.loads(data)
    except (ValueError, ClientDisconnect):
        return None
    return found if isinstance(found, dict) else None
