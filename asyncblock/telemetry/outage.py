"""What isn't delivered, said once: the exporters say it again for each batch, and for each kind of thing.

Pure, but for the threads that it is called on: each exporter has its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["Outage", "deliver", "quiet"]

logger = logging.getLogger("asyncblock.telemetry")

_CALM: Final = 300.0
"""Seconds without a failure after which an outage is over: who takes every other batch has one, not many."""

_Result = TypeVar("_Result")


class Outage:
    """Warns once while a collector doesn't take what it is sent, and says when it takes all of it again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[str, float] = {}
        """What isn't taken, and when it wasn't last."""

    def failed(self, what: str, why: str) -> None:
        """A delivery has failed."""
        with self._lock:
            first, known = not self._failing, what in self._failing
            self._failing[what] = self._clock()
        if first:
            words = (
                "%s can't be delivered to the collector: %s. What is sent to it is lost while that lasts; runs go on"
            )
            logger.warning(words, what, why)
        elif not known:
            logger.info("%s can't be delivered either: %s", what, why)

    def went(self, what: str) -> None:
        """A delivery has gone through."""
        with self._lock:
            since = self._failing.get(what)
            if since is None or self._clock() - since < _CALM:
                return
            del self._failing[what]
            over = not self._failing
        if over:
            logger.info("the collector takes what it is sent again")


class _Quiet(logging.Filter):
    """Keeps to itself what the exporters say on threads of ours: it is told once, in our words."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        said: list[str] | None = getattr(self._here, "said", None)
        if said is None:
            return True
        said.append(record.getMessage())
        return False

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Collect what is said on this thread in the block."""
        said: list[str] = []
        self._here.said = said
        try:
            yield said
        finally:
            self._here.said = None


quiet: Final = _Quiet()


def deliver(outage: Outage, what: str, send: Callable[[], _Result], success: _Result, failure: _Result) -> _Result:
    """Send something; return what came of it, of which the outage is told. Raises nothing."""
    with quiet.listening() as said:
        try:
            result = send()
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
            result = failure
    if result is success:
        outage.went(what)
    else:
        outage.failed(what, said[0] if said else "it refuses them")
    return result
