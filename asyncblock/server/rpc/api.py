"""Orders, which are done at once, in a transaction: one function for each method, and the role that it needs.

Most are clients'; of executors there is one. Questions, which may take long, are in ``operations``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...errors import Rejected
from ...metadata import problem_of
from ...wire.messages import ServiceMessage
from ..committing.transaction import Transaction
from ..greeting import proof
from ..jobstate.jobs import Job
from ..livesessions.session import RunningSession
from ..livesessions.sessions import Sessions

__all__ = ["METHODS", "NAMING", "ONCE"]

_MAX_TEXT = 500
"""Characters of a title or a reason."""

Params = dict[str, Any]
Method = Callable[[Sessions, Transaction, Params], dict[str, Any]]


MAX_THREADS = 200
"""Threads of a process that are looked at."""


def _field(params: Params, name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
    value = params.get(name, default)
    if value is ... or not (isinstance(value, kind) or value is default):
        raise Rejected(f"parameter {name!r} must be {getattr(kind, '__name__', 'a number')}", code="params")
    return value


def _start(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    metadata = _field(params, "metadata", dict, {})
    if (problem := problem_of(metadata)) is not None:
        raise Rejected(problem, code="params")
    session_id = sessions.start(
        transaction,
        _field(params, "session_id", str),
        _field(params, "plan", dict),
        _field(params, "inputs", dict, {}),
        _field(params, "title", str, "")[:_MAX_TEXT],
        metadata,
    )
    return {"session_id": session_id}


def _cancel(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    sessions.cancel(
        transaction, _field(params, "session_id", str), _field(params, "reason", str, "cancelled")[:_MAX_TEXT]
    )
    return {}


def _cancel_job(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    session = sessions.running.get(_field(params, "session_id", str))
    job = _job(session, _field(params, "job_id", str), _field(params, "prefix", bool, False)) if session else None
    if session is None or job is None:
        raise Rejected("no such job runs here", code="unknown_job")
    session.cancel_one(transaction, job, _field(params, "reason", str, "cancelled")[:_MAX_TEXT])
    return {}


def _job(session: RunningSession, job_id: str, prefix: bool) -> Job | None:
    if not prefix or job_id in session.jobs:
        return session.jobs.get(job_id)
    found = [job for name, job in session.jobs.items() if name.startswith(job_id)]
    if len(found) > 1:
        raise Rejected(f"{len(found)} jobs begin with {job_id!r}; say more of its id", code="params")
    return found[0] if found else None


def _message_service(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    session_id, node_id = _field(params, "session_id", str), _field(params, "node_id", str)
    session = sessions.running.get(session_id)
    if session is None:
        raise Rejected(f"no session {session_id!r} runs here", code="unknown_session")
    flows = (session.plan, *session.plan.flows.values())
    blocks = [node.block for flow in flows for node in flow.nodes if node.node_id == node_id]
    block = next((each for each in blocks if "service" in each), None)
    if block is None:
        raise Rejected(f"session {session_id!r} has no service node {node_id!r}", code="unknown_node")
    where = (str(block["hash"]), str(block.get("dir", ".")))
    job_id = _field(params, "job_id", str, None)
    here = [(link, link.connection) for link in session.links if link.connection is not None]
    told = [link for link, connection in here if not connection.clogged]
    if here and not told:
        raise Rejected("the executors of that session don't read what they were told before", code="overload")
    for link in told:
        link.send(ServiceMessage(session_id, node_id, *where, params.get("payload"), job_id))
    return {"executors": len(told)}


def _drain(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    name = _field(params, "link", str)
    link = sessions.dispatch.links.get(name)
    if link is None or link.executor is None:
        raise Rejected(f"no executor {name!r} is here", code="unknown_executor")
    link.drained = _field(params, "drained", bool, True)
    sessions.dispatch.came(transaction, link)
    return {}


def _executor_held(sessions: Sessions, transaction: Transaction, params: Params) -> dict[str, Any]:
    """Take in that something holds a process's interpreter lock, as its parent has seen."""
    link = sessions.dispatch.links.get(_field(params, "link", str))
    if link is None:
        return {}
    if proof(link, params.get("secret")) is None:
        words = f"speaking for link {link.link_id} takes its secret: parameter 'secret'"
        raise Rejected(words, code="unauthorized")
    threads = [_frames(each) for each in _field(params, "threads", list)[:MAX_THREADS]]
    seconds = float(_field(params, "seconds", (int, float)))
    sessions.dispatch.held(link.link_id, seconds, threads, _field(params, "works", bool))
    return {}


def _frames(frames: object) -> list[Any]:
    if not isinstance(frames, list) or not all(isinstance(frame, list) and len(frame) == 3 for frame in frames):
        raise Rejected("a thread is a list of frames [file, line, function]", code="params")
    return frames


NAMING: Final = frozenset({"start", "cancel"})
"""Methods to which it matters whether there is, or was, a session of that id: the journal is asked before."""


ONCE: Final = frozenset({"cancel_job", "message_service"})
"""Methods whose second call would have another effect or answer than the first: their answers are kept by id. The
others look at the journal, or are named by what they make."""


METHODS: Final[dict[str, tuple[frozenset[str], Method]]] = {
    "start": (frozenset({"client"}), _start),
    "cancel": (frozenset({"client"}), _cancel),
    "executor_held": (frozenset({"executor"}), _executor_held),
    "cancel_job": (frozenset({"client"}), _cancel_job),
    "message_service": (frozenset({"client"}), _message_service),
    "drain": (frozenset({"client"}), _drain),
}
"""Method name: the roles of which one is needed, and the function."""
