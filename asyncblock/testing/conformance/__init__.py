"""Conformance suites: whether another transport or journal keeps the contract that the rest relies on.

Each is a coroutine that runs every check and raises ``AssertionError`` at the first that fails; ``journal.CHECKS`` and
``transport.CHECKS`` hold the checks by name, for one test each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from . import journal, transport
from .transport import Pair

__all__ = ["check_journal", "check_transport"]


async def check_transport(pair: Pair) -> None:
    """Check a transport. ``pair`` opens a new connection and yields both ends.

    **Cancellation** leaves nothing open that ``pair`` closes.
    """
    for name, check in transport.CHECKS.items():
        try:
            await check(pair)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


async def check_journal(place: Callable[[], AbstractAsyncContextManager[journal.Open]]) -> None:
    """Check a journal. ``place`` makes an empty place and yields what opens (and later opens again) its journal.

    **Cancellation** may leave a journal open in its place.
    """
    for name, check in journal.CHECKS.items():
        async with place() as open_journal:
            try:
                await check(open_journal)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
