"""Streams that jobs put in the place of ``sys.stdout`` and ``sys.stderr``, which all jobs of a process share.

``contextlib.redirect_stdout`` in a job takes what that job writes, its tasks and threads included, and nobody else's.
Whoever assigns ``sys.stdout`` itself takes everybody's: that is told, and undone when nobody who may have done it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any

from .jobstreams import JobStream, Stdio, active_sink, beneath, divert, divert_no_more
from .replacing import Patches, Replacements

__all__ = ["Redirects", "StreamPlaces"]

_LEFT = (
    "the block{} has put another stream in the place of sys.{} and left it there: what other jobs of the process print "
    "goes there, too. It is put back {}. Write 'with contextlib.redirect_{}(...)', which is a job's own here"
)


class Redirects(Replacements):
    """The replaced context managers of ``contextlib``."""

    def __init__(self) -> None:
        super().__init__(_PATCHES)


def _entering(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def __enter__(self: Any) -> Any:  # in its place
        sink, stdio = active_sink(), self._stream
        begun = vars(self).setdefault("_of_jobs", [])
        if sink is None or not isinstance(getattr(sys, stdio, None), JobStream):
            begun.append(None)
            return original(self)
        begun.append(divert(sink, stdio, self._new_target))
        return self._new_target

    return __enter__


def _leaving(original: Callable[..., Any]) -> Callable[..., Any]:
    def __exit__(self: Any, *error: Any) -> Any:  # in its place
        begun = vars(self).get("_of_jobs")
        diversion = begun.pop() if begun else None
        if diversion is None:
            return original(self, *error)
        divert_no_more(diversion)
        return None

    return __exit__


_PATCHES: Patches = {
    "contextlib": [("_RedirectStream.__enter__", _entering), ("_RedirectStream.__exit__", _leaving)],
}


class StreamPlaces:
    """Whether the streams that capture stand in their places, and who may have put others there."""

    def __init__(self, streams: Mapping[Stdio, JobStream]) -> None:
        self._streams = streams
        self._suspects: dict[Stdio, set[Hashable]] = {}

    def foreign(self) -> list[Stdio]:
        """Return those in whose places others stand."""
        found: list[Stdio] = []
        for stdio, ours in self._streams.items():
            now = getattr(sys, stdio)
            if now is not ours and beneath(now) is None:
                found.append(stdio)
            else:
                self._suspects.pop(stdio, None)
        return found

    def job_ends(self, job: Hashable | None, running: Collection[Hashable]) -> list[str]:
        """Put streams back that nobody who runs may have replaced; return what is to be told to a job that ends.

        The job (None for one that is above suspicion) and those that run began when the streams stood in their places.
        """
        told = []
        for stdio in self.foreign():
            sure = stdio not in self._suspects and not running
            suspects = self._suspects.setdefault(stdio, {*running, *([] if job is None else [job])})
            left = suspects & {*running}
            if job in suspects:
                when = "when those that ran at the same time have ended" if left else "now"
                told.append(_LEFT.format("" if sure else ", or one beside it,", stdio, when, stdio))
            self._suspects[stdio] = left
            if not left:
                setattr(sys, stdio, self._streams[stdio])
                del self._suspects[stdio]
        return told
