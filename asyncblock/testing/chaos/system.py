"""The system under chaos: a mainframe process that comes back when it is killed, executors, sessions and observers."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from ...childprocesses.workers import Workers
from ...client import Mainframe, Session
from ...errors import AsyncBlockError
from ...events import BlockFinished, BlockOutput
from ...transport.websocket import connect_websocket
from ...wire.frames import MAX_MESSAGE
from ...wire.messages import Hello, Ping, Read, encode
from ..proxy import FaultProxy
from .certificates import Certificates
from .chaosblocks import FLOWS
from .chaosset import ChaosSet
from .proxies import FaultProxies

__all__ = ["SERVE", "ChaosSessions", "Server", "System"]

SERVE = (sys.executable, "-m", "asyncblock", "serve")

_START_TIMEOUT = 60.0
"""Seconds that the mainframe has to come back."""

_MANY_TIMEOUT = 240.0
"""Seconds in which ten thousand jobs that wait come to be and are cancelled, whatever happened just before: more, and
their session counts as hanging."""

_DEAF = 3
"""Observers at once that read nothing."""


class Server:
    """The mainframe's process, on one data directory and one port. Use it with ``async with``."""

    def __init__(
        self, data_dir: Path, port: int, log: Path, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.data_dir = data_dir
        self.port = port
        self._log = log
        self._command = [*command, "--port", str(port), "--data-dir", str(data_dir)]
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Server:
        await self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    @property
    def token(self) -> str:
        """The token of the data directory."""
        return (self.data_dir / "token").read_text().strip()

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def pids(self) -> list[int]:
        """Return the process's id."""
        return [self.pid]

    def door(self) -> int:
        """Return a port behind which it is, without a proxy."""
        return self.port

    async def kill(self) -> None:
        """Kill the process with SIGKILL and start it again."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._start()

    async def come_back(self) -> None:
        """Start it again if somebody has killed it."""
        assert self._process is not None
        # Whoever has seen its end has been quicker than the event loop.
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self._process.wait()
        if self._process.returncode is not None:
            await self._start()

    async def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, env={**os.environ, **self._environment}
            )
        async with asyncio.timeout(_START_TIMEOUT):
            while not await _listens(self.port):  # another process: nobody here can be told
                if self._process.returncode is not None:
                    raise RuntimeError(f"the mainframe didn't come back; see {self._log}")
                await asyncio.sleep(0.05)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class ChaosSessions:
    """Starts sessions one after the other, in several places at once, and follows each to its end."""

    def __init__(self, mainframe: Mainframe, flows: Mapping[str, Path], notes: Path, effects: Path, seed: int) -> None:
        self._mainframe = mainframe
        self._flows = flows
        self._chance = random.Random(seed)
        self._places = {"notes": str(notes), "effects": str(effects)}
        self._figures = 0.003 if find_spec("matplotlib") is not None else 0.0
        self._stopping = False
        self._tasks: asyncio.TaskGroup | None = None
        self.started: list[str] = []
        self.finished: dict[str, str] = {}
        """State by session id."""
        self.failed: dict[str, str] = {}
        """Errors of sessions that ended otherwise than they were to, by id."""
        self.kinds: Counter[str] = Counter()
        """How many sessions of each flow have ended."""
        self.seen: dict[str, list[tuple[tuple[str, int], int]]] = {}
        """What observers that came to the end saw, by session."""

    @asynccontextmanager
    async def going_on(self, places: int) -> AsyncIterator[asyncio.TaskGroup]:
        """Keep so many sessions running for the duration of the block; leaving waits until all have ended."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for _ in range(places):
                tasks.create_task(self._one_after_another())
            try:
                yield tasks
            finally:
                self._stopping = True

    async def _one_after_another(self) -> None:
        names, shares = list(FLOWS), [share for _, _, share in FLOWS.values()]
        while not self._stopping:
            [name] = self._chance.choices(names, shares)
            session = await self._start(name)
            await self._follow(session)
            self._ended(name, session, await session.wait(), "succeeded")

    async def cancel_many(self) -> None:
        """Start a session of ten thousand jobs that wait, and cancel it when they are there.

        **Cancellation** leaves the rest to ``going_on``: the end of a storm is none of the session.
        """
        assert self._tasks is not None
        await asyncio.shield(self._tasks.create_task(self._cancel_many()))

    async def _cancel_many(self) -> None:
        session = await self._start("waiting")
        with suppress(TimeoutError):
            async with asyncio.timeout(_MANY_TIMEOUT):
                async for event in session:
                    if isinstance(event, BlockFinished) and event.node_id == "source":
                        break
                await session.cancel("enough")
                self._ended("waiting", session, await session.wait(), "cancelled")

    async def _start(self, name: str) -> Session:
        _, counts, _ = FLOWS[name]
        inputs = {
            **self._places,
            "count": self._chance.randrange(*counts),
            "large": 0.0 if name == "waiting" else self._chance.choice((0.0, 0.02, 0.2)),
            "bins": name == "mixed",
            "figures": self._figures,
        }
        session = await self._mainframe.start(self._flows[name], inputs)
        self.started.append(session.session_id)
        return session

    async def _follow(self, session: Session) -> None:
        seen: list[tuple[tuple[str, int], int]] = []
        async for event in session:
            if isinstance(event, BlockOutput) and event.node_id == "source" and event.handle == "out":
                value = event.output if event.body is None else await session.fetch(event.body)
                seen.append(((event.job_id, event.attempt), int(value["n"])))
        self.seen[session.session_id] = seen

    def _ended(self, name: str, session: Session, end: object, wanted: str) -> None:
        state, error = str(getattr(end, "state", "")), str(getattr(end, "error", ""))
        self.kinds[name] += 1
        self.finished[session.session_id] = state
        if state != wanted:
            self.failed[session.session_id] = f"{name}: {state}: {error}"

    def hanging(self) -> list[str]:
        """Return the sessions that were started and didn't end."""
        return [session_id for session_id in self.started if session_id not in self.finished]


class System:
    """All of it: one mainframe, or a set of them."""

    def __init__(
        self,
        mainframe: Server | ChaosSet,
        proxy: FaultProxy | FaultProxies,
        workers: Workers,
        sessions: ChaosSessions,
        clock: Path | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._mainframe = mainframe
        self.proxy = proxy
        self.workers = workers
        self.sessions = sessions
        self._clock = clock
        self._certificates = certificates
        self._deaf: set[asyncio.Task[None]] = set()

    @property
    def server(self) -> Server:
        """The only mainframe."""
        assert isinstance(self._mainframe, Server)
        return self._mainframe

    @property
    def mainframes(self) -> ChaosSet:
        """The mainframes of a set, and what they share."""
        assert isinstance(self._mainframe, ChaosSet)
        return self._mainframe

    def pids(self) -> list[int]:
        """Return the process ids of the mainframe, or of the set with its NATS nodes."""
        return self._mainframe.pids()

    def calm(self) -> None:
        """Let everything flow and run again."""
        self.proxy.resume()
        self.proxy.drip(None)
        if isinstance(self._mainframe, ChaosSet):
            self._mainframe.calm()

    def set_clock(self, seconds: int) -> None:
        """Set the mainframe's clock, as seen from here."""
        assert self._clock is not None
        new = self._clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._clock)

    def new_certificate(self) -> None:
        """Put a new certificate in place of the one that is served."""
        assert self._certificates is not None
        self._certificates.renew()

    async def open_deaf(self) -> bool:
        """Let one more observer ask for everything and read nothing; false when there are enough."""
        if len(self._deaf) >= _DEAF:
            return False
        task = asyncio.create_task(self._be_deaf())
        self._deaf.add(task)
        task.add_done_callback(self._deaf.discard)
        return True

    async def close(self) -> None:
        """Let go of the observers that read nothing."""
        for task in list(self._deaf):
            task.cancel()
        if self._deaf:
            await asyncio.wait(self._deaf)

    async def _be_deaf(self) -> None:
        tls = None if self._certificates is None else self._certificates.client()
        scheme = "ws" if tls is None else "wss"
        while True:
            with suppress(AsyncBlockError, OSError):
                url, token = f"{scheme}://127.0.0.1:{self._mainframe.door()}", self._mainframe.token
                transport = await connect_websocket(url, token, max_message=MAX_MESSAGE, tls=tls)
                try:
                    await transport.send(encode(Hello(1, secrets.token_hex(8), secrets.token_hex(8), 1)))
                    for number, session_id in enumerate(self.sessions.started[-50:]):
                        await transport.send(encode(Read(number, session_id, 0, 1 << 20)))
                    while True:
                        # It lives, as far as that goes.
                        await asyncio.sleep(2.0)
                        await transport.send(encode(Ping()))
                finally:
                    transport.abort()
            await asyncio.sleep(1.0)
