"""Every exception that asyncblock raises, in one tree. The type says whose fault it is.

* ``AsyncBlockError`` - the root; catch it to catch everything of ours.

  * ``LocalProtocolError`` - this process broke a rule of the protocol or of the API.

    * ``UnserializableValue`` (also ``TypeError``) - a value that JSON can't carry; names handle and path.
    * ``PayloadTooLarge`` (also ``ValueError``) - a value over a limit; names handle, size and limit.

    * ``PreviewFailed`` - a value that couldn't be shown; it becomes a warning on the job.

  * ``RemoteProtocolError`` - the other side broke a rule of the protocol.
  * ``Closed`` - you closed it: a send after the finish, a link after ``close()``, a link after ``fork``.
  * ``ConnectionLost`` (also ``ConnectionError``) - the world broke it: no mainframe at that address, a promise
    that the network made impossible to keep.
  * ``Rejected`` - the mainframe refused, with its reason.

    * ``Unauthorized`` - the token is missing, wrong, or lacks the role for the call.
    * ``UnknownBlock`` - a block asked for one that its flow's packages don't have.
    * ``InvalidInputs`` (also ``ValueError``) - inputs that a block or flow can't be run with.

  * ``LeaseLost`` - this attempt of the job is fenced; another attempt, or nobody, owns the job now.
  * ``InvalidFlow`` (also ``ValueError``) - a flow that can't be run; carries every problem with file and line.
  * ``BlockFailed`` - a block ended with an error; carries the author's own frames.
  * ``FlowFailed`` - a session ended with an error; carries the failed node and its message.

    * ``ValueLost`` - because a value that stayed in a process went with it; names the node that must run again.

  * ``MapFailed`` - some of many runs failed; carries the results of all.
  * ``Unavailable`` - a local resource that somebody else holds or that isn't there: data directory, port.

    * ``DataDirInUse`` - a data directory that another mainframe uses.
    * ``MainframeFailed`` - the mainframe in this process met an error that it can't go on with, and has ended.

``asyncio.CancelledError`` is never raised, wrapped or swallowed by asyncblock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

__all__ = [
    "AsyncBlockError",
    "BlockFailed",
    "Closed",
    "ConnectionLost",
    "DataDirInUse",
    "FlowFailed",
    "InvalidFlow",
    "InvalidInputs",
    "LeaseLost",
    "LocalProtocolError",
    "MainframeFailed",
    "MapFailed",
    "PayloadTooLarge",
    "PreviewFailed",
    "Problem",
    "Rejected",
    "RemoteProtocolError",
    "Unauthorized",
    "Unavailable",
    "UnknownBlock",
    "UnserializableValue",
    "ValueLost",
]


class AsyncBlockError(Exception):
    """The root of the tree."""


class LocalProtocolError(AsyncBlockError):
    """This process broke a rule of the protocol or of the API; the message names the rule. Retrying can't help."""


class UnserializableValue(LocalProtocolError, TypeError):
    """A value that JSON can't carry, found where the author sent it.

    ``handle`` is the output handle (or None), ``path`` leads to the culprit inside the value (``rows[3].when``).
    """

    def __init__(self, reason: str, *, handle: str | None = None, path: str = "") -> None:
        self.reason = reason
        self.handle = handle
        self.path = path
        where = "".join(
            [f" on handle {handle!r}" if handle is not None else "", f" at {path}" if path else ""],
        )
        super().__init__(f"value{where} can't be sent: {reason}")


class PayloadTooLarge(LocalProtocolError, ValueError):
    """A value over a limit, refused before anything of it was sent. Sizes are in bytes.

    ``size`` is what it has for certain: nobody goes on counting where it is too much.
    """

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(
            f"{what} has at least {size} bytes; the limit is {limit} bytes. Send a reference to it instead."
        )


class PreviewFailed(LocalProtocolError):
    """A value that couldn't be shown: its own methods raised, or drawing it failed. The job gets a warning."""


class RemoteProtocolError(AsyncBlockError):
    """The other side broke a rule of the protocol; the link is over. A retry on a new link may help."""


class Closed(AsyncBlockError):
    """You closed it: the object was finished or closed before the call. The message says which and when."""


class ConnectionLost(AsyncBlockError, ConnectionError):
    """The world broke it: the mainframe can't be reached, or a promise across a lost connection can't be kept."""


class Rejected(AsyncBlockError):
    """The mainframe refused the call or the record. ``code`` is a word for programs, the message is for people."""

    def __init__(self, message: str, *, code: str = "rejected") -> None:
        self.code = code
        super().__init__(message)


class Unauthorized(Rejected):
    """The token is missing, wrong, or lacks the role that the call needs."""

    def __init__(self, message: str, *, code: str = "unauthorized") -> None:
        super().__init__(message, code=code)


class UnknownBlock(Rejected):
    """A block asked for one that its flow's packages don't have; the message names the nearest one that they have."""

    CODE: ClassVar[str] = "unknown_block"

    def __init__(self, message: str) -> None:
        super().__init__(message, code=self.CODE)


class InvalidInputs(Rejected, ValueError):
    """Inputs that a block or flow can't be run with. ``problems`` says what is wrong, by handle."""

    CODE: ClassVar[str] = "invalid_inputs"

    def __init__(self, message: str, *, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__(message, code=self.CODE)


class LeaseLost(AsyncBlockError):
    """This attempt of the job is fenced: its lease ended and its records are no longer applied."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a flow, at the place where it can be mended."""

    message: str
    file: str | None = None
    line: int | None = None
    """1-based, where the file is YAML and the place is known."""
    code: str | None = None
    """What programs tell it by: ``language`` (no executor has announced it), ``input`` (a required one isn't given),
    ``compat`` (the existing engine runs it all the same), ``import`` (a file imports what isn't here)."""
    subject: str | None = None
    """What the code speaks of: the language's or the input's name."""

    def __str__(self) -> str:
        place = self.file or ""
        if self.file is not None and self.line is not None:
            place = f"{self.file}:{self.line}"
        return f"{place}: {self.message}" if place else self.message


class InvalidFlow(AsyncBlockError, ValueError):
    """A flow that can't be run. ``problems`` holds all of them, in the order of files and lines."""

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems: tuple[Problem, ...] = (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class BlockFailed(AsyncBlockError):
    """A block ended with an error. ``traceback`` holds the author's frames as text, or is empty."""

    def __init__(self, message: str, *, node_id: str | None = None, traceback: str = "") -> None:
        self.node_id = node_id
        self.traceback = traceback
        super().__init__(message)


class FlowFailed(AsyncBlockError):
    """A session ended without success. ``state`` is ``"failed"`` or ``"cancelled"``.

    ``node_id`` is the node whose block failed, and ``__cause__`` a ``BlockFailed`` with the author's traceback, where
    they are known. ``journal`` is where everything that happened can be read: an address or a data directory.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str,
        state: str = "failed",
        node_id: str | None = None,
        journal: str | None = None,
    ) -> None:
        self.session_id = session_id
        self.state = state
        self.node_id = node_id
        self.journal = journal
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        """What a notebook prints: the author's frames in place of those that waited for the session."""
        lines = [f"{type(self).__name__}: {self}"]
        if isinstance(self.__cause__, BlockFailed) and self.__cause__.traceback:
            lines.insert(0, self.__cause__.traceback.rstrip())
        if self.journal is not None:
            lines.append(f"the journal of session {self.session_id} is kept in {self.journal}")
        return lines


class ValueLost(FlowFailed):
    """A session failed because a var value went with its executor's process. ``Mainframe.retry`` makes it again.

    ``node_id`` is the node that needs it, ``producer`` the one that has put it out on ``handle`` and must run again.
    """

    def __init__(self, message: str, *, producer: str, handle: str, **more: Any) -> None:
        self.producer = producer
        self.handle = handle
        super().__init__(message, **more)


class MapFailed(AsyncBlockError):
    """Some of the runs of a ``Mainframe.map`` failed. ``results`` has a ``MapResult`` for each item, in order.

    Those that succeeded have their outputs in it, the others their ``error``.
    """

    def __init__(self, message: str, *, results: Sequence[Any]) -> None:
        self.results = tuple(results)
        super().__init__(message)


class Unavailable(AsyncBlockError):
    """A local resource that somebody else holds or that isn't there: a data directory, a port, an extra."""


class DataDirInUse(Unavailable):
    """A data directory that another mainframe uses: that of process ``holder``, where that is known."""

    def __init__(self, message: str, *, path: str, holder: str) -> None:
        self.path = path
        self.holder = holder
        super().__init__(message)


class MainframeFailed(Unavailable):
    """The mainframe in this process met an error that it can't go on with, and has ended; ``__cause__`` is that error.

    What it had acknowledged is in its data directory. Start it again there: its sessions go on.
    """
