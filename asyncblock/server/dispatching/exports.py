"""Exports: var values that another process needs. The executor that has made a value writes it into a file, once.

A job is assigned first, and its dispatch is sent when all of its files are there. Executors are asked for missing files
again after each Welcome. The journal notes each export, for the file outlives its process. For another host, an
executor that can open the file sends it as a body, once; that lies beside the journal and outlives the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ...errors import Rejected
from ...wire.bodies import BodyRef
from ...wire.messages import Carry, Export
from ..committing.transaction import Transaction
from ..committing.transactions import Transactions
from ..jobstate.jobs import Attempt, JobOwner, JobState, LinkState, ValueSources
from ..jobstate.lives import VarValue
from ..journal import BodyRow
from ..serverlimits import FILE_NAME, MAX_WORDS

__all__ = ["LINK_METHODS", "Exports", "source_of"]

_BACK: Final = "back"

Key = tuple[str, str, str, str, int, int]
"""What is waited for (an ``export``, a ``carry``, or that it is ``back``), of which link, and a value's session, job,
attempt and place."""


class _Asked:
    """What an executor was asked for, and what waits for it."""

    __slots__ = ("attempts", "message")

    def __init__(self, message: Export | Carry | None) -> None:
        self.message = message
        self.attempts: list[Attempt] = []


class Exports:
    """Knows which values were asked for, and what waits for them."""

    def __init__(
        self, transactions: Transactions, links: Mapping[str, LinkState], send: Callable[[Attempt], None]
    ) -> None:
        self._transactions = transactions
        self._links = links
        self._send = send
        """Sends a dispatch whose files are there."""
        self._waiting: dict[Key, _Asked] = {}
        self.handed_down: Callable[[], None] = lambda: None
        """Called when an executor that leaves has said where a value is, or why it is nowhere."""
        self.unheard: Callable[[LinkState], None] = lambda _: None
        """Called when an executor without a connection is asked: it may never answer."""

    def sources_for(self, attempt: Attempt) -> ValueSources | None:
        """Return where an attempt's inputs are; None while some aren't there: then it is sent later."""
        lives = attempt.job.session.lives
        if not lives.any:
            return ValueSources()
        files: dict[str, str] = {}
        bodies: dict[str, BodyRef] = {}
        complete = True
        for handle, ref in attempt.job.inputs.items():
            value = lives.find(ref)
            if value is None or value.made.link_id == attempt.link.link_id:
                continue
            name = value.file_for(attempt.link.places)
            if name is not None:
                files[handle] = name
            if value.body is not None and Carry.op in attempt.link.understands:
                # In addition to a file: that may be gone, if another process has fetched it and its command has ended.
                bodies[handle] = value.body
            elif name is None:
                complete &= not self._ask(attempt, value)
        return ValueSources(files, bodies) if complete else None

    def _ask(self, attempt: Attempt, value: VarValue) -> bool:
        """Ask for a value, unless that was done; tell whether there is an executor to be asked."""
        found = self._request_for(attempt, value)
        if found is None:
            return False
        source, message = found
        session_id, made = attempt.job.session.session_id, value.made
        op = _BACK if message is None else message.op
        key = (op, source.link_id, session_id, made.job_id, made.attempt, value.number)
        asked = self._waiting.get(key)
        if asked is None:
            asked = self._waiting[key] = _Asked(message)
            self._send_request(source, message)
        if attempt not in asked.attempts:
            asked.attempts.append(attempt)
        return True

    def _request_for(self, attempt: Attempt, value: VarValue) -> tuple[LinkState, Export | Carry | None] | None:
        """Return which executor to ask for a value, and how; None if no executor can provide it.

        The message is None for a maker that is expected back: what it can do is known once it is there.
        """
        link, made = attempt.link, value.made
        if value.size is None:
            return None
        source = source_of(value, self._links)
        if source is None:
            # A mainframe that has just begun knows links that haven't come back yet.
            maker = self._links.get(made.link_id)
            return (maker, None) if maker is not None and maker.expected and not value.kept else None
        session_id, of = attempt.job.session.session_id, (made.job_id, made.attempt, value.number)
        has_it = value.file is None and source.link_id == made.link_id
        if has_it and (source.host == link.host or not _goes(link)):
            return source, Export(session_id, *of)
        if _goes(link) and _goes(source):
            file = value.file_for(source.places)
            return source, Carry(session_id, *of, self._transactions.settings.carried_bytes, file)
        return None

    def _send_request(self, source: LinkState, message: Export | Carry | None) -> None:
        source.carries |= isinstance(message, Carry)
        if message is not None:
            source.send(message)
        if source.connection is None:
            self.unheard(source)

    def withdraw(self, attempt: Attempt) -> bool:
        """Send a dispatch no more that waits for values; tell whether it did."""
        waited = [asked for asked in self._waiting.values() if attempt in asked.attempts]
        for asked in waited:
            asked.attempts.remove(attempt)
        return bool(waited)

    def awaits(self, link: LinkState) -> bool:
        """Tell whether anything waits for what a link was asked for."""
        return any(key[1] == link.link_id for key in self._waiting)

    def was_asked(self, link: LinkState, value: tuple[str, str, int, int]) -> bool:
        """Tell whether anything waits for a value that a link was asked for as a body."""
        return (Carry.op, link.link_id, *value) in self._waiting

    def restate(self, link: LinkState) -> None:
        """Ask a maker again that has come back."""
        for key, asked in [item for item in self._waiting.items() if item[0][1] == link.link_id]:
            if asked.message is not None:
                link.carries |= isinstance(asked.message, Carry)
                link.send(asked.message)
                continue
            # It is back and has said what it can do: the attempts look again for whom to ask.
            del self._waiting[key]
            for attempt in filter(_waits, asked.attempts):
                self._send(attempt)

    def arrived(self, value: tuple[str, str, int, int], error: str | None) -> None:
        """Send what has waited for a value, or hand it out anew if the value stays where it is."""
        found = [key for key in self._waiting if key[2:] == value]
        waiting = [attempt for key in found for attempt in self._waiting.pop(key).attempts if _waits(attempt)]
        if error is None:
            for attempt in waiting:
                self._send(attempt)
        elif waiting:
            with self._transactions.new_transaction() as transaction:
                self._release(transaction, waiting, error)

    def maker_gone(self, transaction: Transaction, link: LinkState, reason: str) -> None:
        """Hand out anew what waits for values of a process that has ended."""
        for key in [key for key in self._waiting if key[1] == link.link_id]:
            self._release(transaction, [each for each in self._waiting.pop(key).attempts if _waits(each)], reason)

    def session_over(self, session_id: str) -> None:
        """Wait for nothing of a session any more."""
        for key in [key for key in self._waiting if key[2] == session_id]:
            del self._waiting[key]

    @property
    def session_bytes(self) -> int:
        """How many bytes a session may take."""
        return self._transactions.settings.session_bytes

    @staticmethod
    def _release(transaction: Transaction, attempts: list[Attempt], reason: str) -> None:
        for attempt in attempts:
            if _waits(attempt):
                attempt.job.session.release(transaction, attempt.job, reason)


def _waits(attempt: Attempt) -> bool:
    return not attempt.fenced and attempt.job.attempt is attempt and attempt.job.state is JobState.ASSIGNED


def _exported(
    exports: Exports, running: Mapping[str, JobOwner], transaction: Transaction, link: LinkState, params: dict[str, Any]
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
    if session is None or session.ended or value is None:
        # The value has been released meanwhile, or its session is over.
        return {"lives": False}
    if value.made.link_id != link.link_id:
        return _copied(session, transaction, link, value, file)
    place_of = link.disk if params.get("lasting") is True and link.disk is not None else link.host
    found = (str(place_of), str(file)) if isinstance(file, str) else None
    if value.file is not None and (found in (None, value.file) or place_of != link.disk):
        # Known already. Only a file on the disk, which outlives this executor's command, replaces another one.
        return {}
    words = error[:MAX_WORDS] if isinstance(error, str) else None
    session.value_exported(
        transaction,
        (value.made.job_id, value.made.attempt, value.number),
        None if words is not None else found,
        words if words is not None else (note or "")[:MAX_WORDS] or None,
    )
    key = (session.session_id, value.made.job_id, value.made.attempt, value.number)
    transaction.after(lambda: exports.arrived(key, words))
    if link.executor is None:
        # This executor is leaving, and jobs wait for the values that it hands down.
        transaction.after(exports.handed_down)
    return {}


def _copied(
    session: JobOwner, transaction: Transaction, link: LinkState, value: VarValue, file: object
) -> dict[str, Any]:
    """An executor of another host has fetched a value's body into a file."""
    if value.body is None or not isinstance(file, str) or link not in session.links:
        return {"lives": False}
    found = (str(link.host), file)
    if value.copies.get(link.link_id) != found:
        session.value_copied(transaction, (value.made.job_id, value.made.attempt, value.number), link.link_id, found)
    return {}


def _carried(
    exports: Exports, running: Mapping[str, JobOwner], transaction: Transaction, link: LinkState, params: dict[str, Any]
) -> dict[str, Any]:
    """An executor has sent a value's file as a body, or says why it can't."""
    session_id, job_id, attempt, place = (params[name] for name in ("session_id", "job_id", "attempt", "place"))
    body, error = BodyRef.from_json(params.get("body")), params.get("error")
    if (body is None) == (error is None):
        raise Rejected("'body' names what came of a var value, or 'error' says why nothing did", code="params")
    session = running.get(session_id)
    value = None if session is None else session.lives.value(job_id, attempt, place)
    key = (session_id, job_id, attempt, place)
    if session is None or session.ended or value is None or key[1:] != value.origin[:3]:
        return {"lives": False}
    if value.made.link_id != link.link_id and not exports.was_asked(link, key):
        # Only an executor that was asked may answer for another one's value: each on that host could claim it. If it
        # was asked before this mainframe began, it is asked again as soon as a job waits.
        return {"lives": False}
    words = None if error is None else str(error)[:MAX_WORDS]
    limit = exports.session_bytes
    if body is not None and session.bytes + body.length > limit:
        words = f"the session has {session.bytes} bytes, {limit} may be (the mainframe's setting session_bytes)"
        body = None
    if body is not None and value.body is None:
        if link.whole.get(body.n) != (body.length, body.sha256):
            raise Rejected(f"body {body.n} isn't whole on the disk yet: ask again after its 'kept'", code="unkept")
        del link.whole[body.n]
        link.unnamed -= link.bodies.pop(body.n, 0)
        session.bytes += body.length
        transaction.write.body(
            BodyRow(session_no=session.number, link_id=link.link_id, n=body.n, length=body.length, sha256=body.sha256)
        )
    if value.body is None:
        found = None if body is None else replace(body, link=link.link_id)
        session.value_carried(transaction, key[1:], found, words)
    transaction.after(lambda: exports.arrived(key, words))
    return {}


def source_of(value: VarValue, links: Mapping[str, LinkState]) -> LinkState | None:
    """Return the executor that has a value, or can open its file, to be asked for it; None where none is connected."""
    maker = links.get(value.made.link_id)
    if maker is not None and maker.is_there:
        return maker
    return next((link for link in links.values() if link.connection and _goes(link) and _may_carry(link, value)), None)


def _may_carry(link: LinkState, value: VarValue) -> bool:
    return value.made.link_id == link.link_id or value.file_for(link.places) is not None


def _goes(link: LinkState) -> bool:
    """Tell whether an executor can send files of values as bodies, and fetch them."""
    return Carry.op in link.understands


Method = Callable[[Exports, Mapping[str, JobOwner], Transaction, LinkState, dict[str, Any]], dict[str, Any]]

LINK_METHODS: Final[dict[str, Method]] = {
    "exported": _exported,
    "carried": _carried,
}
"""What executors say of themselves rather than of a job that they hold."""
