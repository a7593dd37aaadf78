"""Exports: var values that another process of their host needs. Their makers write them into files, once each.

A job is assigned first, and its dispatch is sent when all of its files are there; whoever makes them is asked again
after each Welcome. What was exported stands in the journal: the file outlives its process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..errors import Rejected
from ..wire.messages import Export
from .bounds import FILE_NAME, MAX_WORDS
from .jobs import Attempt, JobOwner, JobState, LinkState
from .transactions import Transactions
from .turn import Turn

__all__ = ["LINK_METHODS", "Exports"]

Key = tuple[str, str, str, int, int]
"""The link of a value's maker, its session, job, attempt and place."""


class Exports:
    """Knows which values were asked for, and who waits for them."""

    def __init__(
        self, transactions: Transactions, links: Mapping[str, LinkState], send: Callable[[Attempt], None]
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._send = send
        """Sends a dispatch whose files are there."""
        self._waiting: dict[Key, list[Attempt]] = {}
        self.handed_down: Callable[[], None] = lambda: None
        """Called when an executor that leaves has said where a value is, or why it is nowhere."""

    def files_for(self, attempt: Attempt) -> dict[str, str] | None:
        """Return the files of an attempt's inputs by handle; None while some aren't there: then it is sent later."""
        lives = attempt.job.session.lives
        if not lives.any:
            return {}
        files: dict[str, str] = {}
        complete = True
        for handle, ref in attempt.job.inputs.items():
            value = lives.find(ref)
            if value is None or value.made.link_id == attempt.link.link_id:
                continue
            if value.file is not None:
                files[handle] = value.file[1]
            elif value.size is not None and (maker := self._maker(value.made.link_id)) is not None:
                made = value.made
                self._ask(maker, attempt, made.job_id, made.attempt, value.number)
                complete = False
        return files if complete else None

    def _maker(self, link_id: str) -> LinkState | None:
        link = self._links.get(link_id)
        return link if link is not None and link.is_there else None

    def _ask(self, maker: LinkState, attempt: Attempt, job_id: str, number: int, place: int) -> None:
        session_id = attempt.job.session.session_id
        waiting = self._waiting.setdefault((maker.link_id, session_id, job_id, number, place), [])
        if not waiting:
            maker.send(Export(session_id, job_id, number, place))
        if attempt not in waiting:
            waiting.append(attempt)

    def restate(self, link: LinkState) -> None:
        """Ask a maker again that has come back."""
        for link_id, session_id, job_id, attempt, place in self._waiting:
            if link_id == link.link_id:
                link.send(Export(session_id, job_id, attempt, place))

    def arrived(self, key: Key, error: str | None) -> None:
        """Send what has waited for a value, or hand it out anew if the value stays where it is."""
        waiting = [attempt for attempt in self._waiting.pop(key, ()) if _waits(attempt)]
        if error is None:
            for attempt in waiting:
                self._send(attempt)
        elif waiting:
            with self._transactions.turn() as turn:
                self._release(turn, waiting, error)

    def maker_gone(self, turn: Turn, link: LinkState, reason: str) -> None:
        """Hand out anew what waits for values of a process that has ended."""
        for key in [key for key in self._waiting if key[0] == link.link_id]:
            self._release(turn, [each for each in self._waiting.pop(key) if _waits(each)], reason)

    def session_over(self, session_id: str) -> None:
        """Wait for nothing of a session any more."""
        for key in [key for key in self._waiting if key[1] == session_id]:
            del self._waiting[key]

    @staticmethod
    def _release(turn: Turn, attempts: list[Attempt], reason: str) -> None:
        for attempt in attempts:
            if _waits(attempt):
                attempt.job.session.release(turn, attempt.job, reason)


def _waits(attempt: Attempt) -> bool:
    return not attempt.fenced and attempt.job.attempt is attempt and attempt.job.state is JobState.ASSIGNED


def _exported(
    exports: Exports, running: Mapping[str, JobOwner], turn: Turn, link: LinkState, params: dict[str, Any]
) -> dict[str, Any]:
    """An executor has written a value into a file, or says why it can't."""
    names = ("session_id", "job_id", "attempt", "place")
    session_id, job_id, attempt, place = (params.get(name) for name in names)
    file, error, note = (params.get(name) for name in ("file", "error", "note"))
    if not (type(session_id) is type(job_id) is str and type(attempt) is type(place) is int):
        raise Rejected(f"parameters {', '.join(names)} name a var value", code="params")
    if not (isinstance(error, str) or (isinstance(file, str) and FILE_NAME.fullmatch(file) and link.host is not None)):
        raise Rejected("'file' is the name of a file of its host, or 'error' says why there is none", code="params")
    if not isinstance(note, str | None):
        raise Rejected("'note' is a text", code="params")
    session = running.get(str(session_id))
    value = None if session is None else session.lives.value(str(job_id), attempt, place)
    if session is None or value is None or value.made.link_id != link.link_id:
        # It has gone meanwhile, or is asked for no more.
        return {"lives": False}
    place_of = link.disk if params.get("lasting") is True and link.disk is not None else link.host
    found = (str(place_of), str(file)) if isinstance(file, str) else None
    if value.file is not None and (found in (None, value.file) or place_of != link.disk):
        # What is known of it already; or it goes on in a file that outlives this executor's command.
        return {}
    words = error[:MAX_WORDS] if isinstance(error, str) else None
    session.value_exported(
        turn,
        (value.made.job_id, value.made.attempt, value.number),
        None if words is not None else found,
        words if words is not None else (note or "")[:MAX_WORDS] or None,
    )
    key = (link.link_id, session.session_id, value.made.job_id, value.made.attempt, value.number)
    turn.after(lambda: exports.arrived(key, words))
    if link.executor is None:
        # Jobs wait for what an executor hands down that leaves.
        turn.after(exports.handed_down)
    return {}


Method = Callable[[Exports, Mapping[str, JobOwner], Turn, LinkState, dict[str, Any]], dict[str, Any]]

LINK_METHODS: Final[dict[str, Method]] = {
    "exported": _exported,
}
"""What executors say of themselves rather than of a job that they hold."""
