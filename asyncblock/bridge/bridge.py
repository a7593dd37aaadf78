"""The bridge itself: the engine's jobs on one side, our executor processes on the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from ..errors import Rejected
from ..mqtt import Broker
from ..wire.messages import SessionEnded
from .blockplaces import place_of
from .enginejobs import EngineJob
from .enginequestions import EngineQuestions
from .enginevalues import EngineValues
from .enginewords import EXECUTOR, JobWords, defs_of, encoded, inputs_topic, options_of, session_topic
from .executorlink import ExecutorLink, TakenBatch
from .orders import EngineOrders
from .outgoing import Outgoing
from .ownedtasks import Tasks

__all__ = ["RUN_BLOCK", "RUN_SERVICE", "Bridge"]

logger = logging.getLogger("asyncblock.bridge")

RUN_BLOCK = f"executor/{EXECUTOR}/run_block"
RUN_SERVICE = f"executor/{EXECUTOR}/run_service_block"

_ASK_AGAIN = 2.0
"""Seconds after which a repeated job means that its BlockReady hasn't arrived: the engine waits 3."""

_TRIES = 3
"""Processes that may end under a job before its code has begun: its module may be what ends them."""

_LOST_INPUTS = "the engine has given the job's inputs once, and they were lost with the connection to the broker"

ServeRoot = Callable[[str, Path], Awaitable[None]]
"""Lets the executor processes announce a directory under a hash."""


class Bridge:
    """One session's executor. Lives on one loop; implements ``executorlink.ExecutorHost``."""

    def __init__(self, orders: EngineOrders, broker: Broker, tasks: Tasks, serve_root: ServeRoot) -> None:
        self._orders = orders
        self._broker = broker
        self._tasks = tasks
        self._serve_root = serve_root
        self._session_topic = session_topic(orders.session_id)
        self._responses = f"{self._session_topic}/request/"
        self._inputs = inputs_topic(orders.session_id, "")
        self._jobs: dict[str, EngineJob | None] = {}
        """All that ever came, for the engine says them again; None once over."""
        self._channels: dict[tuple[ExecutorLink, int], EngineJob] = {}
        self._waiting: list[EngineJob] = []
        """Jobs of packages that no process here has."""
        self._links: dict[str, ExecutorLink] = {}
        self._roots: set[Path] = set()
        self._values = EngineValues(orders.session_dir)
        self._outgoing = Outgoing(broker, tasks, self._values, self._ended, self._leave_channel)
        self.questions = EngineQuestions(tasks, self._ask, self._warn, self._values.keep)
        self.over = asyncio.Event()
        """Set when the engine says that the session is."""

    def knows(self, root: Path) -> None:
        """Take note of a directory that the executor processes announce by themselves."""
        self._roots.add(root)

    def ready_words(self) -> bytes:
        """Return what tells the engine that jobs may come."""
        orders = self._orders
        package = None if orders.package is None else str(orders.package)
        said = {"session_id": orders.session_id, "executor_name": EXECUTOR, "package": package}
        where = {"identifier": orders.identifier, "debug_port": orders.debug_port}
        return orjson.dumps({"type": "ExecutorReady", **said, **where})

    def leave(self) -> None:
        """Tell the executor processes that the session is over."""
        for link in self._links.values():
            link.send(SessionEnded(self._orders.session_id))

    # ------------------------------------------------------------------ what comes from the engine

    def heard(self, topic: str, payload: bytes) -> None:
        """Take a message. What can't be read, or isn't for this executor, is skipped."""
        if topic == "report":
            self._reported(payload)
            return
        try:
            message = orjson.loads(payload)
            if not isinstance(message, dict):
                raise ValueError("it is no object")
            if topic in (RUN_BLOCK, RUN_SERVICE):
                if message.get("session_id") == self._orders.session_id and self._is_meant(message):
                    self._take_job(message)
            elif topic.startswith(self._responses):
                self.questions.answered(topic.removeprefix(self._responses).partition("/")[0], message)
            elif topic.startswith(self._inputs):
                self._take_inputs(topic.removeprefix(self._inputs), message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("a message on %s can't be read and is skipped: %s: %s", topic, type(error).__name__, error)

    def _is_meant(self, message: dict[str, Any]) -> bool:
        wanted, mine = message.get("identifier"), self._orders.identifier
        return wanted is None or mine is None or wanted == mine

    def _reported(self, payload: bytes) -> None:
        # The telemetry of all processes passes here. What concerns none of ours isn't parsed.
        ends = b'"SessionFinished"' in payload
        if not (ends or b'"run_block::' in payload):
            return
        try:
            event = orjson.loads(payload)
            if event.get("session_id") != self._orders.session_id:
                return
            if event.get("type") == "SessionFinished":
                self.over.set()
            elif self.questions.follows(id := str(event.get("job_id"))):
                self.questions.reported(id, event)
        except (ValueError, AttributeError) as error:
            logger.warning("a message on report can't be read and is skipped: %s", error)

    def _take_job(self, message: dict[str, Any]) -> None:
        job_id = str(message["job_id"])
        if job_id in self._jobs:
            self._again(self._jobs[job_id])
            return
        stacks, outputs = message.get("stacks"), message.get("outputs")
        words = JobWords(
            self._orders.session_id,
            job_id,
            [level for level in stacks if isinstance(level, dict)] if isinstance(stacks, list) else [],
            outputs=frozenset(outputs if isinstance(outputs, dict) else ()),
        )
        # Before anything may fail: it never comes again.
        self._jobs[job_id] = None
        self._tasks.start(self._prepare(words, message), name=f"job {job_id}")

    def _again(self, job: EngineJob | None) -> None:
        """A job came once more. Mostly that means nothing; the engine repeats it while it hears no BlockReady."""
        if job is None or job.asked_at is None or job.inputs.done():
            return
        if asyncio.get_running_loop().time() - job.asked_at > _ASK_AGAIN:
            self._say_ready(job)

    def _take_inputs(self, job_id: str, message: dict[str, Any]) -> None:
        job = self._jobs.get(job_id)
        if job is not None and not job.inputs.done():
            job.inputs.set_result(message)

    def back(self) -> None:
        """The connection to the broker was lost, and is back: what came meanwhile isn't known."""
        for job in self._jobs.values():
            if job is not None and job.asked and not job.inputs.done():
                self._say_ready(job)
        self.questions.back()

    # ------------------------------------------------------------------ a job, up to its dispatch

    async def _prepare(self, words: JobWords, message: dict[str, Any]) -> None:
        """Get a job's inputs, and give it to a process."""
        job: EngineJob | None = None
        try:
            directory = message.get("dir")
            if not isinstance(directory, str):
                raise ValueError("the engine doesn't say where its block is ('dir')")
            place = await asyncio.to_thread(place_of, directory, options_of(message), self._orders.package)
            service = message.get("service_executor")
            block = {**service, "block": message.get("block_name")} if isinstance(service, dict) else None
            job = EngineJob(words, place, block, asyncio.get_running_loop().create_future())
            self._jobs[words.job_id] = job
            await self._broker.subscribe(inputs_topic(words.session_id, words.job_id))
            self._say_ready(job)
            if place.root not in self._roots:
                self._roots.add(place.root)
                await self._serve_root(place.digest, place.root)
            said = await job.inputs
            given, declared = said.get("inputs"), said.get("inputs_def")
            if given is None and declared and job.asked > 1:
                raise ValueError(_LOST_INPUTS)
            job.definitions = {**said, "outputs_def": defs_of(message.get("outputs"))}
            path = said.get("block_path")
            words.block_path = path if isinstance(path, str) else None
            await self._values.set_inputs(job, given if isinstance(given, dict) else {})
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            # Whatever is wrong with what the engine has said: it waits for the job's end.
            job = job or EngineJob(words, place_of("/", {}, None), None, asyncio.get_running_loop().create_future())
            self._jobs[words.job_id] = job
            self._outgoing.end(job, words.for_engine("BlockFinished", error=f"the job can't be begun: {error}"), None)
            return
        self._waiting.append(job)
        self._hand_out()

    def _say_ready(self, job: EngineJob) -> None:
        job.asked += 1
        job.asked_at = asyncio.get_running_loop().time()
        self._broker.send(self._session_topic, orjson.dumps(job.words.for_engine("BlockReady")))

    def _hand_out(self) -> None:
        waiting, self._waiting = self._waiting, []
        again = any(job.tries for job in waiting)
        tried = again and any(job.tries and not job.begun for job in self._channels.values())
        for job in waiting:
            fitting = [each for each in self._links.values() if each.takes_jobs and _has(each, job)]
            # One at a time of those whose process has ended: so it shows which of them did that.
            if not fitting or (tried and job.tries):
                self._waiting.append(job)
                continue
            tried = tried or job.tries > 0
            # The latest: an older one may be about to leave.
            job.link = fitting[-1]
            job.channel = job.link.dispatch(job.dispatch)
            self._channels[job.link, job.channel] = job

    # ------------------------------------------------------------------ what our executors say

    def ready(self, link: ExecutorLink) -> None:
        """Take note that a process can be given jobs, or other ones than before."""
        self._links[link.link_id] = link
        self._hand_out()

    def gone(self, link_id: str, reason: str) -> None:
        """A process has ended: what may have begun in it fails, the rest goes to another one."""
        link = self._links.pop(link_id, None)
        for job in [job for (each, _), job in self._channels.items() if each is link]:
            self._leave_channel(job)
            job.tries += not job.begun
            if job.begun or job.tries == _TRIES:
                words = reason if job.begun else f"{reason}, as did {_TRIES - 1} before: the block's code had not begun"
                self._outgoing.end(job, job.words.for_engine("BlockFinished", error=words), None)
            else:
                self._waiting.append(job)
        self._hand_out()

    def counts_as_open(self, link: ExecutorLink, channel: int) -> bool:
        """Tell whether a link's job isn't over."""
        return (link, channel) in self._channels

    def stalled(self, link: ExecutorLink, channel: int, seconds: float, where: str) -> None:
        """A block keeps its event loop from running: the job is warned of it at its end, by the executor."""
        logger.info("a block has kept the event loop from running for %.1f s in %s", seconds, where)

    def record(self, link: ExecutorLink, channel: int, record: dict[str, Any], batch: TakenBatch) -> str | None:
        """Take a record of an open job."""
        job = self._channels[link, channel]
        batch.open += 1
        if job.writing:
            job.waiting.append((record, batch))
        else:
            self._outgoing.take(job, record, batch)
        if record["type"] == "JobStarted" and self._waiting:
            self._hand_out()
        return None

    async def answer(self, link: ExecutorLink, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Answer a request of a job."""
        if method in ("executor_held", "exported"):
            return {}
        job = self._jobs.get(str(params.get("job_id")))
        if job is None or job.over or job.link is not link:
            raise Rejected("the job isn't open here", code="not_held")
        if method == "give_back":
            if job.begun:
                raise Rejected("the job has begun", code="begun")
            self._leave_channel(job)
            self._waiting.append(job)
            self._hand_out()
            return {}
        return await self.questions.answer(job, method, params)

    async def rows(self, offset: int) -> list[tuple[int, bytes]]:
        """Wait for rows of what is told of blocks that jobs have asked for."""
        return await self.questions.rows.read(offset)

    def body(self, n: int) -> bytes | None:
        """Return a body that this bridge has named."""
        return self._values.body(n)

    def _warn(self, job: EngineJob, words: str) -> None:
        self._outgoing.say(job, "report", job.words.for_all("BlockWarning", warning=words), None)

    async def _ask(self, job: EngineJob, message: dict[str, object]) -> None:
        await self._broker.publish(self._session_topic, encoded(message))

    # ------------------------------------------------------------------ the end of a job

    def _ended(self, job: EngineJob) -> None:
        """Take note that a job's end was said."""
        self._broker.unsubscribe(inputs_topic(job.words.session_id, job.words.job_id))
        self._jobs[job.words.job_id] = None
        self._values.drop(job)
        self.questions.job_over(job)
        if self._waiting:
            self._hand_out()

    def _leave_channel(self, job: EngineJob) -> None:
        if job.link is not None and self._channels.pop((job.link, job.channel), None) is not None:
            job.link.forget(job.channel)


def _has(link: ExecutorLink, job: EngineJob) -> bool:
    return link.packages is not None and job.place.digest in link.packages
