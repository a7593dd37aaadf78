"""Contexts that take down what a block puts out, for the cache: records as they are sent, with what they refer to."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from ...context import Context, JobInfo, SyncContext
from ...runtime.offload import run_in_thread
from ...store import Store, StoreKey
from ...telemetry.traces import Trace
from ...values import dumps
from ...values.pieces import loads_blocks
from ...varvalues.filed import loaded
from ...wire.bodies import OutgoingBody, Parcel
from .digests import Named, NoDigest
from .results import MAX_RESULT, Results, UnfinishedResult

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ...context.payloads import Prepared
    from ...context.secrecy import CredentialInput
    from ...link import JobSender
    from ...wire.windows import Lane

__all__ = ["Recorder", "RecordingContext", "RecordingSyncContext"]

_PREVIEWS: Final = 64 << 20
"""Bytes of previews that are kept with a result, about."""

_MANY_PREVIEWS: Final = 1000

_AROUND: Final = "it asks for what is around it"

_GIVEN_UP: Final = "a call of it was given up: what was taken down of that wasn't sent"

_VALUES: Final = {"BlockOutput": "output", "BlockOutputs": "outputs", "BlockFinished": "result"}


class _Preview(NamedTuple):
    """A preview that is kept with a result."""

    id: str | None
    made: Mapping[str, Any]
    said: Mapping[str, Any] | None
    """What is said of its tables' pages; None where there are none."""
    pages: Sequence[bytes]
    """The body of these."""
    size: int


class Recorder:
    """Takes down one attempt's result. Its methods write files; any thread may call them, one at a time."""

    def __init__(
        self,
        results: Results,
        about: Mapping[str, Any],
        store: Store,
        bases: Sequence[Path],
        keep: Callable[[UnfinishedResult], str | None],
    ) -> None:
        self._results = results
        self._store = store
        self._keep = keep
        """Puts the draft in its place, or says why not."""
        self._named = Named(bases)
        self._previews: dict[str, _Preview] = {}
        self._shown = 0
        """Bytes of those."""
        self._lock = threading.Lock()
        self.spoiled: str | None = None
        """Why the result can't be kept."""
        self._draft: UnfinishedResult | None = None
        try:
            self._draft = results.draft()
            self._draft.add({"about": dict(about)}, [])
        except OSError as error:
            self.spoil(f"the cache can't be written: {error.strerror}")

    def spoil(self, reason: str) -> None:
        """Keep nothing of this attempt."""
        self.spoiled = self.spoiled or reason

    def take(self, item: bytes | Parcel) -> None:
        """Take down a record that is about to be sent."""
        record = item if isinstance(item, bytes) else item.record
        if self.spoiled is not None or not record.startswith((b'{"type":"BlockOutput', b'{"type":"BlockFinished"')):
            return
        with self._lock:
            try:
                self._add(orjson.loads(record), [] if isinstance(item, bytes) else item.bodies)
            except (OSError, NoDigest) as error:
                self.spoil(str(error))

    def _add(self, record: dict[str, Any], bodies: Iterable[OutgoingBody]) -> None:
        assert self._draft is not None
        name = record["type"]
        by_number = {body.n: body for body in bodies}
        if name == "BlockOutput":
            handle = record["handle"]
            values = {} if "body" in record else {handle: record["output"]}
            refs = {handle: record["body"]} if "body" in record else {}
        else:
            values, refs = record.get(_VALUES[name], {}), record.get("bodies", {})
        head: dict[str, Any] = {key: record[key] for key in ("to_node", "to_flow") if key in record}
        kinds: list[list[str]] = []
        parts: list[bytes] = []
        for handle, value in values.items():
            key = StoreKey.match(value)
            kept = value if key is None else self._kept(handle, key)
            self._named.look(kept)
            kinds.append([handle, "json" if key is None else "var"])
            parts.append(orjson.dumps(value) if key is None else self._pickled(handle, kept))
        for handle, ref in refs.items():
            kinds.append([handle, ref["encoding"]])
            parts.append(by_number[ref["n"]].content())
            if ref["encoding"] == "json":
                self._named.look(loads_blocks(parts[-1:]))
        if self.spoiled is None:
            self._draft.add({"record": name, "values": kinds, **head}, parts)
            if self._draft.size > MAX_RESULT:
                self.spoil(f"it put out more than {MAX_RESULT >> 20} MiB")

    def _kept(self, handle: str, key: StoreKey) -> Any:
        """Return a var value. It may be in a file only: in shared memory, or on the disk for want of room."""
        try:
            return loaded(self._store.look(key))
        except Exception as error:  # whatever its library raises
            self.spoil(f"the value of {handle!r} can't be read from its file ({type(error).__name__}: {error})")
            return None

    def _pickled(self, handle: str, value: object) -> bytes:
        try:
            return pickle.dumps(value, protocol=5)
        except Exception as error:  # whatever the author's class raises
            kind = type(value).__name__
            self.spoil(f"the value of {handle!r}, a {kind}, can't be pickled ({type(error).__name__}: {error})")
            return b""

    def show(
        self, made: Mapping[str, Any], id: str | None, size: int, said: Mapping[str, Any] | None, pages: Sequence[bytes]
    ) -> None:
        """Take down a preview; one with the same id takes its place. Where there is no room for pages, without."""
        name = id if id is not None else f"\0{len(self._previews)}"
        before = self._previews.pop(name, None)
        self._shown -= 0 if before is None else before.size
        beside = sum(map(len, pages))
        if self._shown + size + beside > _PREVIEWS:
            said, pages, beside = None, (), 0
        if self._shown + size <= _PREVIEWS and len(self._previews) < _MANY_PREVIEWS:
            self._previews[name] = _Preview(id, made, said, pages, size + beside)
            self._shown += size + beside

    def end(self, finish: bytes) -> str | None:
        """Keep the result of a job that ends well; return why it isn't kept, no words if it is, None after errors."""
        record = orjson.loads(finish)
        if "error" in record or record.get("cancelled"):
            self.drop()
            return None
        draft, why = self._draft, self.spoiled
        if why is not None or draft is None:
            self.drop()
            return why
        with self._lock:
            try:
                for each in self._previews.values():
                    data = dumps(each.made)
                    if draft.size + len(data) + each.size <= MAX_RESULT:
                        draft.add({"preview": each.id, "pages": each.said}, [data, b"".join(each.pages)])
                draft.add({"named": self._named.files, "at": int(time.time() * 1000)}, [])
                why = self._keep(draft) or ""
            except (OSError, TypeError) as error:
                why = f"the cache can't be written: {error}"
        self.drop()
        return why

    def drop(self) -> None:
        """Remove what was written and isn't kept."""
        draft, self._draft = self._draft, None
        if draft is not None:
            draft.drop()
        self.spoiled = self.spoiled or "it has ended"


class _Recording:
    """What both faces do beside: note what makes a result depend on more than its key says."""

    _recorder: Recorder
    _told: Callable[[str | None], bytes | None]

    def _plain_record(self, value: object, handle: str) -> None:
        """Nothing goes the short way: it must come by ``_send``."""
        return

    def run_block(self, *args: Any, **kwargs: Any) -> Any:
        self._recorder.spoil("it runs other blocks")
        return super().run_block(*args, **kwargs)  # type: ignore[misc]  # the other base's

    def query_block(self, *args: Any, **kwargs: Any) -> Any:
        self._recorder.spoil(_AROUND)
        return super().query_block(*args, **kwargs)  # type: ignore[misc]  # the other base's

    def query_downstream(self, *args: Any, **kwargs: Any) -> Any:
        self._recorder.spoil(_AROUND)
        return super().query_downstream(*args, **kwargs)  # type: ignore[misc]  # the other base's

    def update_node_weight(self, *args: Any, **kwargs: Any) -> Any:
        self._recorder.spoil(_AROUND)
        return super().update_node_weight(*args, **kwargs)  # type: ignore[misc]  # the other base's

    def _confide(self, credential: CredentialInput) -> dict[str, str]:
        self._recorder.spoil("it asks for a credential")
        return super()._confide(credential)  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def session_dir(self) -> str:
        self._recorder.spoil("it uses its session's directory")
        return super().session_dir  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def tmp_dir(self) -> str:
        self._recorder.spoil("it uses its session's temporary directory")
        return super().tmp_dir  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def tmp_pkg_dir(self) -> str:
        self._recorder.spoil("it uses its session's temporary directory")
        return super().tmp_pkg_dir  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def flow_node_store(self) -> dict[str, Any]:
        self._recorder.spoil("it uses what jobs of its node keep for each other")
        return super().flow_node_store  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def metadata(self) -> Mapping[str, Any]:
        self._recorder.spoil("it reads its session's metadata")
        return super().metadata  # type: ignore[misc,no-any-return]  # the other base's

    @property
    def trace(self) -> Trace | None:
        self._recorder.spoil("it looks where it stands in a trace")
        return super().trace  # type: ignore[misc,no-any-return]  # the other base's

    def _preview_record(
        self,
        said: Mapping[str, Any] | None,
        made: Mapping[str, Any],
        prepared: Mapping[str, Prepared],
        id: str | None,
    ) -> Parcel:
        payload, pages = prepared["payload"], prepared.get("pages")
        size = len(payload.inline or b"") if payload.body is None else payload.body.length
        # The blocks themselves: the body is let go of when it is sent.
        blocks = [] if pages is None or pages.body is None else [*pages.body.blocks]
        held = [block for block in blocks if isinstance(block, bytes)]
        is_whole = bool(held) and len(held) == len(blocks)
        self._recorder.show(made, id, size, said if is_whole else None, held if is_whole else ())
        return super()._preview_record(said, made, prepared, id)  # type: ignore[misc,no-any-return]  # the other base's


class RecordingContext(_Recording, Context):
    """The context of an async block whose result is to be kept."""

    def __init__(
        self,
        job: JobInfo,
        inputs: Mapping[str, Any],
        sender: JobSender,
        store: Store,
        recorder: Recorder,
        told: Callable[[str | None], bytes | None],
    ) -> None:
        super().__init__(job, inputs, sender, store)
        self._recorder = recorder
        self._told = told
        self._order = asyncio.Lock()

    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        if lane is not self._channel.data or self._sender.inherited:
            # What a forked process sends is taken down where it arrives, in its parent.
            await super()._send(lane, item, keys)
            return
        # So that what is taken down has the order of what is sent.
        async with self._order:
            try:
                await run_in_thread(self._recorder.take, item)
            except BaseException:
                # A cancel too: what is taken down in part is no result, and what isn't sent keeps nothing.
                self._sender.forget(item)
                self._forget(keys)
                self._recorder.spoil(_GIVEN_UP)
                raise
            try:
                await super()._send(lane, item, keys)
            except BaseException:
                # A cancel too: it is taken down, and wasn't sent.
                self._recorder.spoil(_GIVEN_UP)
                raise

    async def _send_finish(self, parcel: Parcel) -> None:
        try:
            await run_in_thread(self._recorder.take, parcel)
            why = await run_in_thread(self._recorder.end, parcel.record)
            if (said := self._told(why)) is not None:
                self._sender.try_accept(self._channel.telemetry, said)
        finally:
            # A cancelled wait leaves the finish standing.
            await super()._send_finish(parcel)


class RecordingSyncContext(_Recording, SyncContext):
    """The context of a sync block whose result is to be kept."""

    def __init__(
        self,
        job: JobInfo,
        inputs: Mapping[str, Any],
        sender: JobSender,
        store: Store,
        lock: threading.Lock,
        recorder: Recorder,
        told: Callable[[str | None], bytes | None],
    ) -> None:
        super().__init__(job, inputs, sender, store, lock)
        self._recorder = recorder
        self._told = told
        self._order = threading.Lock()

    async def _send(self, lane: Lane, item: bytes | Parcel, keys: Sequence[StoreKey | None] = ()) -> None:
        if lane is not self._channel.data or self._sender.inherited:
            # What a forked process sends is taken down where it arrives, in its parent.
            await super()._send(lane, item, keys)
            return
        with self._order:
            self._recorder.take(item)
            try:
                await super()._send(lane, item, keys)
            except BaseException:
                # A cancel too: it is taken down, and wasn't sent.
                self._recorder.spoil(_GIVEN_UP)
                raise

    async def _send_finish(self, parcel: Parcel) -> None:
        self._recorder.take(parcel)
        why = self._recorder.end(parcel.record)
        if (said := self._told(why)) is not None:
            with self._lock:
                self._sender.try_accept(self._channel.telemetry, said)
        await super()._send_finish(parcel)
