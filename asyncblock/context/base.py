"""What both faces of a job share: the properties, the records, the rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from time import time_ns
from typing import Any, Final, NoReturn

import orjson

from ..errors import Closed, ConnectionLost, LeaseLost, LocalProtocolError, Rejected, Unavailable
from ..link import JobSender
from ..preview import Making, about
from ..store import Store
from ..values import dumps, form_of, is_small
from ..values.pieces import dumps_pieces
from ..wire.bodies import INLINE_LIMIT, Encoding, Parcel
from ..wire.channel import Channel
from ..wire.records import encode
from .aboutjob import AboutJob
from .directed import Targets
from .jobinfo import JobInfo
from .large import Large
from .payloads import Prepared, Raw, bodies_of, check_size, now_ms, raw_pieces, short_bytes, shorten, text_of
from .printed import Captured, job_logger
from .secrecy import CredentialInput
from .staying import Staying

__all__ = ["ContextBase", "can_go_unsent", "too_many"]

logger = logging.getLogger("asyncblock.context")


_MANY_BYTES = 1 << 20
"""Bytes of values in one record: a batch is a record more than 64 KiB, and has to fit into a message."""


_SHOWN: Final = 40
"""Characters of what was given for a handle that an error shows."""

_TOLD_LATE: Final = 20
"""Lines of a job that has ended which are told."""

_SHORT_TEXT: Final = 4096
"""Characters of a text that is small however they are encoded."""

_SCALARS: Final = frozenset({int, float, bool, type(None)})


class ContextBase(AboutJob, Staying, Captured):
    """What both faces share: the properties, the records, the rules."""

    __asyncblock_context__ = True
    _channel: Channel

    def __init__(self, job: JobInfo, inputs: Mapping[str, Any], sender: JobSender, store: Store) -> None:
        super().__init__()
        self._job = job
        self._inputs = dict(inputs)
        self._sender = sender
        self._channel = sender.channel
        self._store = store
        self._logger: logging.Logger | None = None
        self._finish_said = False
        self._prefixes: dict[str, bytes] = {}
        """The beginnings of the records of plain handles."""
        self._tail_ms = 0
        self._tail = b""
        self.unawaited = 0
        """Calls of this context that were made and never awaited."""
        self._too_late = 0
        """Lines that came when the job had ended."""
        self.returned_large = False
        """Some of what the block has returned was large."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "a job's context can't be pickled: it speaks for the job in the job's own process. Give another process "
            "the values that it needs, and let the block send what it returns. A process that the block has forked has "
            "the context anyway, as a global or in a closure"
        )

    @property
    def logger(self) -> logging.Logger:
        """A logger. Its records become BlockLog events of this job, in any process."""
        if self._logger is None:
            self._logger = job_logger(self._line)
        return self._logger

    # ------------------------------------------------------------------ records

    def _line_too_late(self, text: str) -> None:
        """Tell of a line that comes when the job has ended: its log is closed, the process's isn't."""
        self._too_late += 1
        if self._too_late > _TOLD_LATE:
            return
        who = f"node {self.node_id} (job {self.job_id})"
        more = "; what it prints from here on is dropped" if self._too_late == _TOLD_LATE else ""
        logger.warning("%s has ended, and prints: %s%s", who, self._text(text), more)

    def _check(self) -> None:
        """Raise what stands against sending: the finish, a refusal (once), the end of the lease."""
        trouble = self._channel.trouble
        if trouble is not None:
            if isinstance(trouble, Rejected):
                self._channel.trouble = None
            raise trouble.with_traceback(None)
        if self._finish_said:
            raise Closed(f"job {self.job_id} is finished; nothing can be sent after done() or finish()")

    def _is_undefined(self, handle: str) -> bool:
        if not isinstance(handle, str):
            raise LocalProtocolError(f"a handle is a str, not {type(handle).__name__}; write output(value, handle)")
        if text_of(handle) != handle:
            raise LocalProtocolError(f"the handle {handle!r} has lone surrogates")
        return self._job.outputs_def is not None and handle not in self._job.outputs_def

    def _is_stray(self, value: object, handle: str) -> bool:
        """Tell whether an output's handle isn't declared. Raises for two arguments that must have changed places."""
        declared = self._job.outputs_def
        if declared and isinstance(value, str) and value in declared and (stray := _is_none_of(handle, declared)):
            raise LocalProtocolError(
                f"output(value, handle) takes the value first: {value!r} is an output handle of this block, and "
                f"{stray} isn't; write output(value, {value!r})"
            )
        return self._is_undefined(handle)

    def _undefined(self, handle: str) -> bytes:
        return encode(
            "BlockError", now_ms(), error=f"Output handle key: [{handle}] is not defined in Block outputs schema."
        )

    def _unsent(self, handle: str, problem: Exception) -> bytes:
        """Tell of a value that can't be sent. Nothing takes it, for its handle isn't declared: the job doesn't fail."""
        words = f"Output handle key: [{handle}] is not defined, and its value wasn't sent: {problem}"
        return encode("BlockError", now_ms(), error=self._text(words))

    def _prepare_small(self, value: object, handle: str | None, *, telemetry: bool = False) -> Prepared | None:
        """Encode a value that is certainly small; None when it must be encoded off the loop, or waits for room."""
        if handle in self._job.bin_handles and isinstance(value, Raw):
            check_size(value, handle)
            short = short_bytes(value)
            return None if short is None else self._small(short, "raw")
        if not is_small(value):
            check_size(value, handle)
            return None
        data = self._guarded(dumps(value, handle=handle), handle)
        return Prepared(data) if len(data) <= INLINE_LIMIT else self._small(data, "json", telemetry=telemetry)

    def _small(self, data: bytes, encoding: Encoding, *, telemetry: bool = False) -> Prepared | None:
        body = self._sender.small_body(data, encoding, telemetry=telemetry)
        return None if body is None else Prepared(None, body)

    def _large(self, value: object, handle: str | None, *, telemetry: bool = False, raw: bool = False) -> Large:
        """Begin with a value that is encoded off the loop."""
        raw = raw or handle in self._job.bin_handles

        def make() -> tuple[Iterator[bytes], Encoding]:
            if raw and isinstance(value, Raw):
                return raw_pieces(value), "raw"
            return self._guarded_pieces(dumps_pieces(value, handle=handle), handle), "json"

        return Large(self._sender.streamed_body(telemetry=telemetry), make, handle)

    def _text_of(self, prepared: Prepared) -> Large:
        """Begin to make a body of a value that is encoded already."""
        pieces = [prepared.inline or b""]
        return Large(self._sender.streamed_body(telemetry=False), lambda: (iter(pieces), "json"), None, inline=False)

    def _lost_body(self) -> Exception:
        """Return why a body was abandoned, though nothing here had given it up."""
        self._check()
        return Closed(f"job {self.job_id} is finished; nothing can be sent for it")

    def _plain_record(self, value: object, handle: str) -> bytes | None:
        """Encode an output the short way; None when value or handle need the long one."""
        try:
            prefix = self._prefixes.get(handle)
        except TypeError:
            # No text, and not hashable: the long way says what is wrong with it.
            return None
        kind = type(value)
        # Short texts first: asking ``is_small`` takes a tenth of a call (throughput).
        short = (kind is str and len(value) < _SHORT_TEXT) or kind in _SCALARS  # type: ignore[arg-type]  # ``kind`` says so
        if prefix is None or not (short or is_small(value)):
            return None
        try:
            data = orjson.dumps(value, form_of)
        except (TypeError, RecursionError):
            # The long way says what is wrong with it.
            return None
        if len(data) > INLINE_LIMIT:
            return None
        # The tail is made once for each millisecond: joining takes half the time of formatting (throughput).
        ms = time_ns() // 1_000_000
        if ms != self._tail_ms:
            self._tail_ms = ms
            self._tail = b',"done":false,"t":%d}' % ms
        return prefix + data + self._tail

    def _output_record(self, handle: str, inline: bytes) -> bytes:
        prefix = b'{"type":"BlockOutput","handle":' + orjson.dumps(handle) + b',"output":'
        if self._is_plain(handle):
            self._prefixes[handle] = prefix
        return prefix + inline + b',"done":false,"t":%d}' % now_ms()

    def _is_plain(self, handle: str) -> bool:
        """Tell whether a handle's values just travel: it is declared, and neither var nor bin."""
        job = self._job
        special = handle in job.var_handles or handle in job.bin_handles or job.secrecy.active
        return not (special or self._is_undefined(handle))

    def _release(self, prepared: Mapping[str, Prepared]) -> None:
        """Let go of what was made of values that will not be sent."""
        self._sender.forget(bodies_of(prepared))
        self._forget(self._keys_of(prepared.values()))

    def _output_item(self, handle: str, prepared: Prepared, targets: Targets | None = None) -> bytes | Parcel:
        if targets:
            return self._one_item("BlockOutput", "output", prepared, handle=handle, done=False, **targets)
        if prepared.inline is not None:
            return self._output_record(handle, prepared.inline)
        assert prepared.body is not None
        record = encode("BlockOutput", now_ms(), handle=handle, body=prepared.body.ref.to_json(), done=False)
        return Parcel(record, [prepared.body])

    def _many_item(self, type_: str, key: str, values: Mapping[str, Prepared], **fields: object) -> Parcel:
        """Build a record with several values by handle (BlockOutputs, BlockFinished)."""
        inline = {h: orjson.Fragment(p.inline) for h, p in values.items() if p.inline is not None}
        bodies = {h: p.body for h, p in values.items() if p.body is not None}
        if bodies:
            fields["bodies"] = {handle: body.ref.to_json() for handle, body in bodies.items()}
        return Parcel(encode(type_, now_ms(), **{key: inline}, **fields), list(bodies.values()))

    def _one_item(self, type_: str, key: str, prepared: Prepared, **fields: object) -> Parcel:
        """Build a record with one value that may be a body (BlockPreview, a directed BlockOutput)."""
        if prepared.inline is not None:
            return Parcel(encode(type_, now_ms(), **{key: orjson.Fragment(prepared.inline)}, **fields))
        assert prepared.body is not None
        return Parcel(encode(type_, now_ms(), body=prepared.body.ref.to_json(), **fields), [prepared.body])

    def _paged(self, making: Making) -> Large | None:
        """Begin to make the pages of a table; None where there are none, or they can't be sent from here."""
        pages = making.pages
        if pages is None or self._sender.inherited:
            return None
        return self._beside(lambda: pages.pieces(lambda text: self._guarded(text, None)))

    def _beside(self, pieces: Callable[[], Iterator[bytes]]) -> Large:
        """Begin with the body of a preview's pages."""
        return Large(self._sender.streamed_body(telemetry=True), lambda: (pieces(), "json"), None, inline=False)

    def _preview_record(
        self,
        said: Mapping[str, Any] | None,
        made: Mapping[str, Any],
        prepared: Mapping[str, Prepared],
        id: str | None,
    ) -> Parcel:
        """Build a preview's record; beside a body it says what it is, and with tables comes what is ``said`` of their
        pages."""
        fields: dict[str, object] = {} if id is None else {"id": id}
        payload, pages = prepared["payload"], prepared.get("pages")
        if payload.body is not None:
            words = dumps({**about(made), "size": payload.body.length})
            fields["about"] = orjson.Fragment(self._guarded(words, None))
        if pages is None or pages.body is None or said is None:
            return self._one_item("BlockPreview", "payload", payload, **fields)
        fields |= {"bodies": {"pages": pages.body.ref.to_json()}, "pages": said}
        item = self._one_item("BlockPreview", "payload", payload, **fields)
        item.bodies.append(pages.body)
        return item

    def _finished_item(self, result: Mapping[str, Prepared], ending: Mapping[str, Any]) -> Parcel:
        if result:
            item = self._many_item("BlockFinished", "result", result, **ending)
            self.returned_large = bool(item.bodies)
            return item
        error = ending.get("error")
        return self._finished_record(error, **{key: value for key, value in ending.items() if key != "error"})

    def _finished_record(self, error: str | None, **fields: object) -> Parcel:
        if error is not None:
            fields["error"] = self._text(error)
        return Parcel(encode("BlockFinished", now_ms(), **fields))

    def _warning(self, warning: str) -> bytes:
        return encode("BlockWarning", now_ms(), warning=self._text(warning))

    def _text(self, text: object) -> str:
        """Make a text for people: without secrets, and no longer than a record should be."""
        return shorten(self._job.secrecy.text(text if isinstance(text, str) else str(text)))

    def _guarded(self, data: bytes, handle: str | None) -> bytes:
        """Keep secrets out of a value's JSON: what goes to a handle travels, everything else is for people."""
        secrecy = self._job.secrecy
        if not secrecy.active:
            return data
        return secrecy.shown(data) if handle is None else secrecy.sent(data)

    def _guarded_pieces(self, pieces: Iterator[bytes], handle: str | None) -> Iterator[bytes]:
        if not self._job.secrecy.active:
            yield from pieces
        elif handle is not None:
            # No text of JSON is cut in two pieces.
            for piece in pieces:
                yield self._guarded(piece, handle)
        else:
            # To be shown it has to be whole.
            yield self._guarded(b"".join(pieces), handle)

    def _confide(self, credential: CredentialInput) -> dict[str, str]:
        """Look a credential up, and keep its values out of everything that is for people."""
        if self._job.credential is None:
            raise Unavailable("this context has no credentials; an executor's has")
        values = self._job.credential(credential)
        for value in values.values():
            self._job.secrecy.learn(value)
        return values

    def _say_finish(self) -> bool:
        """Note that the finish is said; False when it was said before."""
        if self._finish_said:
            return False
        self._finish_said = True
        return True

    def unawaited_words(self) -> str:
        """Say what a block did wrong that never awaited its context's calls."""
        return (
            f"the block ended, but {self.unawaited} call(s) of its ctx were never awaited, so nothing was sent: write "
            "'await ctx.output(value, handle)', and await tasks that send before returning"
        )

    def _repeated_finish(self) -> None:
        logger.warning("job %s (%s) was finished twice; the first finish counts", self.job_id, self.node_id)


def can_go_unsent(problem: Exception) -> bool:
    """Tell whether an error is about a value, and not about the job or its link."""
    return not isinstance(problem, (Closed, ConnectionLost, Rejected, LeaseLost, Unavailable))


def _is_none_of(handle: object, declared: Mapping[str, Any]) -> str | None:
    """Return words for what is none of the declared handles; None for one of them."""
    if isinstance(handle, str):
        return None if handle in declared else repr(handle[:_SHOWN])
    return f"the {type(handle).__name__} given for the handle"


def too_many(values: Mapping[str, Prepared]) -> list[str]:
    """Return handles with values that are small one by one, and don't fit into one record with the others."""
    left = _MANY_BYTES
    found = []
    for handle, each in values.items():
        if each.inline is not None:
            left -= len(each.inline)
            # What stands for a value that stays has to be seen.
            if left < 0 and each.key is None:
                found.append(handle)
    return found
