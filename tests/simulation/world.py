"""The simulated world: the real link, gateway, sessions and dispatch in virtual time, on a network that harms.

Executors are hosts that send numbers and note what was acknowledged; a client starts sessions and watches them. The
audit is the one of the chaos command.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from asyncblock import events
from asyncblock.client import Session
from asyncblock.errors import AsyncBlockError
from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source
from asyncblock.link import Link
from asyncblock.link.bodybuffer import BODY_MEMORY
from asyncblock.link.sender import JobSender
from asyncblock.server.settings import Settings
from asyncblock.testing import Faults, MemoryMainframe, MemoryNetwork, OneLoop
from asyncblock.testing.chaos.audit import Audit, audit_journal
from asyncblock.transport import Transport
from asyncblock.wire import records
from asyncblock.wire.bodies import Parcel
from asyncblock.wire.messages import (
    Cancel,
    Carry,
    Close,
    Dispatch,
    Export,
    Live,
    Release,
    ServiceMessage,
    Spawn,
    Unspawn,
)
from asyncblock.wire.windows import LINK_WINDOW, Lane

__all__ = ["World"]

END = 3600.0
"""Virtual seconds in which everything must have ended once the world is whole again."""


def plan() -> Plan:
    """Numbers, each taken by a job of its own."""
    retries = {"retries": 50, "backoff": 0.5}
    block = {"language": "python", "package": "p", "hash": "h", "entry": "e", "function": "f", "retries": retries}
    count = InputPlan((Source(None, "count"),))
    value = InputPlan((Source("source", "out"),))
    nodes = (
        NodePlan("source", "task", block, {"count": count}),
        NodePlan("each", "task", block, {"value": value}, concurrency=3),
    )
    return Plan("simulated", None, nodes, ({"handle": "count"},), {"last": (Source("each", "out"),)})


class Executor:
    """An executor process: a link and the jobs that run on it. A ``Host``."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.network = world.new_network()
        self.dead = False
        self._jobs: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.link = Link(world.io, self.network.dial, f"the mainframe, for executor {number}")

    async def start(self) -> None:
        await self.link.open(None)
        await self.link.attach(self)

    async def kill(self) -> None:
        """Die as by SIGKILL: nothing is said."""
        self.dead = True
        self.network.cut()
        self.network.refusing = True
        self.link._connections.closing = True
        task = self.link._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        for job in self._jobs.values():
            job.cancel()
        if self._jobs:
            await asyncio.wait(list(self._jobs.values()))

    def in_flight(self) -> int:
        return sum(port.accepted - port.freed for port in self.link._link_sender.ports)

    # ------------------------------------------------------------------ Host

    def announcement(self) -> dict[str, Any] | None:
        return {"languages": ["python"], "packages": {"h": "p"}, "slots": {"async": 4, "sync": 4}}

    def dispatch(self, message: Dispatch, sender: JobSender) -> None:
        key = (message.job_id, message.attempt)
        assert key not in self._jobs, f"{key} was handed out twice"
        self._jobs[key] = self.world.tasks.create_task(self._run(message, sender))

    def reconnects(self) -> None: ...

    def cancel(self, message: Cancel) -> None:
        self._stop(message.job_id, message.attempt)

    def close(self, message: Close) -> None:
        self._stop(message.job_id, message.attempt)

    def _stop(self, job_id: str, attempt: int) -> None:
        job = self._jobs.get((job_id, attempt))
        if job is not None:
            job.cancel()

    def spawn(self, message: Spawn) -> None:
        raise AssertionError("no block here has a process of its own")

    def unspawn(self, message: Unspawn) -> None:
        raise AssertionError("no block here has a process of its own")

    def session_ended(self, session_id: str) -> None:
        pass

    def held(self) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def release(self, message: Release) -> None:
        raise AssertionError("there are no var values here")

    def export(self, message: Export) -> None:
        raise AssertionError("this executor has no host")

    def carry(self, message: Carry) -> None:
        raise AssertionError("this executor has no host")

    def live(self, message: Live) -> None:
        raise AssertionError("this executor doesn't understand it")

    def service_message(self, message: ServiceMessage) -> None:
        raise AssertionError("there are no services here")

    def lag(self) -> float:
        return 0.0

    def link_over(self, error: AsyncBlockError) -> None:
        if not self.dead:
            self.world.links_over.append(str(error))
        for job in self._jobs.values():
            job.cancel()

    # ------------------------------------------------------------------ blocks

    async def _run(self, message: Dispatch, sender: JobSender) -> None:
        cancelled = False
        try:
            await self._send(sender, sender.channel.data, records.encode("JobStarted", 0))
            if message.node_id == "source":
                await self._count(message, sender)
            else:
                await asyncio.sleep(self.world.chance.uniform(0, 0.2))
                await self._send(sender, sender.channel.data, output(message.inputs.get("value")))
        except asyncio.CancelledError:
            cancelled = True
        except AsyncBlockError:
            return
        if sender.channel.trouble is None and not self.dead:
            fields: dict[str, Any] = {"cancelled": True} if cancelled else {}
            sender.finish(Parcel(records.encode("BlockFinished", 0, **fields)), lambda error: None)

    async def _count(self, message: Dispatch, sender: JobSender) -> None:
        chance = self.world.chance
        count = message.inputs["count"]
        for n in range(count):
            if chance.random() < 0.05:
                await self._send(sender, sender.channel.data, self._large(sender, n))
            else:
                await self._send(sender, sender.channel.data, output({"n": n}))
            if chance.random() < 0.1:
                await self._flush(sender)
                self.world.note((message.job_id, message.attempt), n)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.uniform(0, 0.5))
        await self._flush(sender)
        self.world.note((message.job_id, message.attempt), count - 1)

    def _large(self, sender: JobSender, n: int) -> Parcel:
        data = b'{"n":%d,"text":"%s"}' % (n, b"x" * self.world.chance.choice((70_000, 150_000)))
        body = sender.small_body(data, "json", force=True)
        assert body is not None
        record = records.encode("BlockOutput", 0, handle="out", body=body.ref.to_json(), done=False)
        return Parcel(record, [body])

    async def _send(self, sender: JobSender, lane: Lane, item: bytes | Parcel) -> None:
        size = len(item.record) if isinstance(item, Parcel) else len(item)
        while not sender.try_accept(lane, item):
            room = asyncio.Event()
            sender.when_room(lane, size, room.set)
            await room.wait()
            self._check(sender)
        self._check(sender)

    async def _flush(self, sender: JobSender) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: BaseException | None) -> None:
            if not stored.done():
                if error is None:
                    stored.set_result(None)
                else:
                    stored.set_exception(error)

        sender.mark(settle)
        await stored

    def _check(self, sender: JobSender) -> None:
        if sender.channel.trouble is not None:
            raise sender.channel.trouble


def output(value: Any) -> bytes:
    return records.encode("BlockOutput", 0, handle="out", output=value, done=False)


class World:
    """Everything, by one seed. Use it with ``async with`` on a virtual loop."""

    def __init__(self, seed: int, faults: Callable[[], Faults] = Faults) -> None:
        self.chance = random.Random(seed)
        # The link draws its pauses from the module's generator.
        random.seed(seed)
        self.acked: dict[tuple[str, int], int] = {}
        self.seen: dict[str, list[tuple[tuple[str, int], int]]] = {}
        self.ends: dict[str, str] = {}
        self.links_over: list[str] = []
        self.tasks: asyncio.TaskGroup
        self.io: OneLoop
        self.mainframe: MemoryMainframe
        self.prefix = "s"
        """What the ids of its sessions begin with."""
        self.executors: list[Executor] = []
        self.networks: list[MemoryNetwork] = []
        self._faults = faults
        self._count = 0
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> World:
        self.tasks = asyncio.TaskGroup()
        await self.tasks.__aenter__()
        self.io = OneLoop(self.tasks)
        await self.begin()
        self._client_network = self.new_network()
        self.client = Link(self.io, self._client_network.dial, "the mainframe, for the client")
        await self.client.open(None)
        for _ in range(2):
            await self.add_executor()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        for executor in self.executors:
            await executor.kill()
        await self.client.close()
        await self.mainframe.kill()
        await self.tasks.__aexit__(None, None, None)

    def new_mainframe(self) -> MemoryMainframe:
        """Return one that hasn't begun."""
        settings = Settings(lease=60.0, no_executor_timeout=END)
        return MemoryMainframe(settings, commit_delay=lambda: self.chance.uniform(0, 0.05))

    async def begin(self) -> None:
        """Let there be a mainframe."""
        self.mainframe = self.new_mainframe()
        await self.mainframe.start()

    def accept(self, transport: Transport) -> None:
        """Serve who dials."""
        self.mainframe.accept_soon(transport)

    def new_network(self) -> MemoryNetwork:
        network = MemoryNetwork(self.accept, self._faults(), self.chance)
        self.networks.append(network)
        return network

    def note(self, attempt: tuple[str, int], n: int) -> None:
        self.acked[attempt] = n

    async def add_executor(self) -> None:
        executor = Executor(self, self._count)
        self._count += 1
        self.executors.append(executor)
        await executor.start()

    # ------------------------------------------------------------------ what happens

    async def start_session(self) -> None:
        """Start a session and watch it to its end, across everything."""
        session_id = f"{self.prefix}{len(self._watchers)}"
        params = {"session_id": session_id, "plan": plan().to_json(), "inputs": {"count": self.chance.randrange(1, 60)}}
        self._watchers.append(self.tasks.create_task(self._follow(session_id, params)))
        await asyncio.sleep(0)

    async def _follow(self, session_id: str, params: dict[str, Any]) -> None:
        await self.client.request("start", params)
        session = Session(self.client, session_id)
        seen: list[tuple[tuple[str, int], int]] = []
        async for event in session:
            if isinstance(event, events.BlockOutput) and event.node_id == "source":
                value = event.output if event.body is None else await session.fetch(event.body)
                seen.append(((event.job_id, event.attempt), value["n"]))
            elif isinstance(event, events.SessionFinished):
                assert session_id not in self.ends, "a session ended twice"
                self.ends[session_id] = event.state
        self.seen[session_id] = seen

    async def restart_mainframe(self, away: float) -> None:
        """Kill the mainframe; it comes back later."""
        await self.mainframe.kill()
        await asyncio.sleep(away)
        await self.mainframe.start()

    async def restart_executor(self) -> None:
        """Kill an executor and start another. Nobody tells the mainframe: its lease must run out."""
        victim = self.executors.pop(self.chance.randrange(len(self.executors)))
        await victim.kill()
        await self.add_executor()

    async def partition(self, seconds: float) -> None:
        """Let an executor run on without a mainframe for a while, longer than its lease perhaps."""
        network = self.chance.choice(self.executors).network
        network.refusing = True
        network.cut(late=self.chance.random() < 0.5)
        await asyncio.sleep(seconds)
        network.refusing = False

    async def fill_disk(self, seconds: float) -> None:
        """Let the disk refuse everything for a while."""
        self.mainframe.storage.refuse = OSError(28, "No space left on device")
        await asyncio.sleep(seconds)
        self.mainframe.storage.refuse = None

    def cut(self, *, late: bool) -> None:
        """Cut everybody."""
        for network in self.networks:
            network.cut(late=late)

    async def cancel_session(self) -> None:
        """Cancel one of the sessions, wherever it is."""
        if self._watchers:
            session_id = f"{self.prefix}{self.chance.randrange(len(self._watchers))}"
            self.tasks.create_task(self._cancel(session_id))
            await asyncio.sleep(0)

    async def _cancel(self, session_id: str) -> None:
        try:
            await self.client.request("cancel", {"session_id": session_id, "reason": "a test"})
        except AsyncBlockError:
            pass  # it hasn't been started yet, or the client is closed

    # ------------------------------------------------------------------ what must hold

    def check_memory(self) -> None:
        """Memory stays within the bound while things wait."""
        for executor in self.executors:
            jobs = len(executor.link._link_sender.channels)
            assert executor.in_flight() <= LINK_WINDOW + jobs * (64 << 10)
            assert executor.link._link_sender.buffer.in_memory <= BODY_MEMORY

    async def settle(self) -> Audit:
        """Heal everything, wait until all sessions have ended, and audit."""
        for network in self.networks:
            network.faults = Faults()
        async with asyncio.timeout(END):
            if self._watchers:
                await asyncio.wait(self._watchers)
        for watcher in self._watchers:
            watcher.result()
        assert not self.links_over, self.links_over
        found = await audit_journal(self.mainframe.journal, self.acked, self.seen)
        assert found.clean, "\n".join(found.words)
        assert found.sessions == self.ends
        await self._each_job_ends_once()
        return found

    async def _each_job_ends_once(self) -> None:
        for session_id in self.ends:
            created: set[str] = set()
            ended: list[str] = []
            async for event in Session(self.client, session_id):
                if isinstance(event, events.JobCreated):
                    assert event.job_id not in created
                    created.add(event.job_id)
                elif isinstance(event, events.BlockFinished) and event.error is None:
                    ended.append(event.job_id)
            assert len(ended) == len(set(ended)), "a job ended twice"
            if self.ends[session_id] == "succeeded":
                assert set(ended) == created, "a job has no end"
