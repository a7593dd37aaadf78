"""What blocks say, on its way to the engine: in order, and with the broker before its record is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..mqtt import MAX_PAYLOAD, Broker
from ..wire.bodies import BodyRef
from ..wire.messages import Cancel
from .enginejobs import PROGRESS_PAUSE, EngineJob
from .enginevalues import EngineValues
from .enginewords import Said, WholeJson, bin_value, encoded, said_of, session_topic, var_value
from .executorlink import TakenBatch
from .ownedtasks import Tasks

__all__ = ["Outgoing"]


class Outgoing:
    """Publishes what jobs say."""

    def __init__(
        self,
        broker: Broker,
        tasks: Tasks,
        values: EngineValues,
        ended: Callable[[EngineJob], None],
        closed: Callable[[EngineJob], None],
    ) -> None:
        self._broker = broker
        self._tasks = tasks
        self._values = values
        self._ended = ended
        """Called when a job's end is said."""
        self._closed = closed
        """Called when the broker has it."""

    def take(self, job: EngineJob, record: dict[str, Any], batch: TakenBatch) -> None:
        link = job.link
        assert link is not None
        if record["type"] == "JobStarted":
            job.begun = True
            link.let_go(batch)
            return
        files: dict[Path, bytes] = {}
        named: list[int] = []

        def whole(handle: str, ref: BodyRef) -> Any:
            content = bytes(link.bodies.get(ref.n, b""))
            named.append(ref.n)
            if ref.encoding == "json":
                return WholeJson(content)
            path = self._values.path_for(job, handle)
            files[path] = content
            return bin_value(str(path))

        if record["type"] == "BlockArguments":
            bodies = {
                handle: whole(handle, ref)
                for handle, obj in (record.get("bodies") or {}).items()
                if (ref := BodyRef.from_json(obj)) is not None
            }
            small = {handle: var_value(value) for handle, value in record["values"].items()}
            job.arguments[record["id"]] = {**small, **bodies}
            act = partial(link.let_go, batch)
        else:
            act = partial(self._publish, job, said_of(job.words, record, whole), batch)
        link.drop_bodies([*named, *(each["n"] for each in (record.get("bodies") or {}).values())])
        if files:
            job.writing = True
            self._tasks.start(self._after_files(job, files, act))
        else:
            act()

    async def _after_files(self, job: EngineJob, files: dict[Path, bytes], act: Callable[[], None]) -> None:
        try:
            for path, content in files.items():
                await asyncio.to_thread(self._values.write, path, content)
        except OSError as error:
            words = f"bytes of an output can't be written for the engine: {error}"
            self.end(job, job.words.for_engine("BlockFinished", error=words), None)
        act()
        job.writing = False
        while job.waiting and not job.writing:
            self.take(job, *job.waiting.popleft())

    def _publish(self, job: EngineJob, said: Said, batch: TakenBatch) -> None:
        assert job.link is not None
        link = job.link
        if said.progress is not None:
            self._progress(job, said.progress)
        for message in said.to_all:
            self.say(job, "report", message, batch)
        for message in said.to_engine:
            if message["type"] == "BlockRequest":
                message["request_id"] = f"{job.words.job_id}-{batch.seq}"
            self.say(job, session_topic(job.words.session_id), message, batch)
        if said.end is not None:
            self.end(job, said.end, batch)
        link.let_go(batch)

    def say(self, job: EngineJob, topic: str, message: dict[str, object], batch: TakenBatch | None) -> None:
        """Publish a message of a job; its batch waits for the broker's word."""
        payload = encoded(message)
        if len(payload) > MAX_PAYLOAD:
            words = f"a message of {len(payload)} bytes is more than the {MAX_PAYLOAD} that MQTT takes"
            self.end(job, job.words.for_engine("BlockFinished", error=words), None)
            return
        job.unsent += 1
        link = job.link
        if batch is not None:
            batch.open += 1

        def taken(done: asyncio.Future[None]) -> None:
            job.unsent -= 1
            if batch is not None and link is not None and not done.cancelled():
                link.let_go(batch)
            if job.end is not None and job.unsent == 0:
                end, job.end = job.end, None
                end()

        self._broker.publish(topic, payload).add_done_callback(taken)

    def _progress(self, job: EngineJob, rate: float) -> None:
        """Say progress as often as theirs does; the last one arrives before the end."""
        loop = asyncio.get_running_loop()
        job.progress = rate
        if job.timer is None:
            job.timer = loop.call_at(max(job.progress_at + PROGRESS_PAUSE, loop.time()), self._say_progress, job)
            if job.progress_at + PROGRESS_PAUSE <= loop.time():
                self._say_progress(job)

    def _say_progress(self, job: EngineJob) -> None:
        if job.timer is not None:
            job.timer.cancel()
            job.timer = None
        rate, job.progress = job.progress, None
        if rate is not None and not job.over:
            job.progress_at = asyncio.get_running_loop().time()
            self.say(
                job, session_topic(job.words.session_id), job.words.for_engine("BlockProgress", progress=rate), None
            )
            self.say(job, "report", job.words.for_all("BlockProgress", progress=rate), None)

    def end(self, job: EngineJob, message: dict[str, object], batch: TakenBatch | None) -> None:
        """Say a job's end, after the broker has everything else of it. The first end counts."""
        if job.over:
            return
        if batch is None and job.link is not None:
            # What it still says is skipped.
            job.link.send(Cancel(job.words.job_id, 1, "its end was told to the engine"))
        self._say_progress(job)
        job.over = True
        if batch is not None:
            batch.open += 1
        job.end = partial(self._say_end, job, encoded(message), batch)
        if job.unsent == 0:
            end, job.end = job.end, None
            end()

    def _say_end(self, job: EngineJob, payload: bytes, batch: TakenBatch | None) -> None:
        link = job.link

        def taken(done: asyncio.Future[None]) -> None:
            if batch is not None and link is not None and not done.cancelled():
                link.let_go(batch)
            self._closed(job)

        self._broker.publish(session_topic(job.words.session_id), payload).add_done_callback(taken)
        self._ended(job)
