"""What all answers of the page have: JSON, words for what went wrong, and numbers that were asked with."""

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
"""Digits of a number that is asked with; places in journals have fewer."""


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
    """Return a number from 0; None for what is none, or an absurd one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


async def form_of(request: Request) -> dict[str, Any] | None:
    """Return the object that was sent; None where there is none, or too much, or it broke off."""
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
