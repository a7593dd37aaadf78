"""The kinds of faults: what each does to the system, what it needs of the machine, and how often it comes."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .system import System

__all__ = ["FAULTS", "Fault", "faketime_library"]

Act = Callable[[System, random.Random], Awaitable[bool]]
"""Does it; false when there was nothing to do it to."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault."""

    what: str
    """For people."""
    weight: int
    act: Act
    missing: Callable[[], str | None] = lambda: None
    """Says what the machine lacks for it; None when it can be done."""


# ---------------------------------------------------------------------- the network


async def _cut(system: System, chance: random.Random) -> bool:
    system.proxy.cut()
    return True


async def _gentle(system: System, chance: random.Random) -> bool:
    system.proxy.cut_gently()
    return True


async def _truncate(system: System, chance: random.Random) -> bool:
    system.proxy.truncate()
    return True


async def _half_open(system: System, chance: random.Random) -> bool:
    system.proxy.half_open(near=chance.random() < 0.5)
    return True


async def _stall(system: System, chance: random.Random) -> bool:
    system.proxy.stall()
    try:
        await asyncio.sleep(chance.uniform(0.1, 3.0))
        if chance.random() < 0.5:
            system.proxy.cut()
    finally:
        system.proxy.resume()
    return True


async def _drip(system: System, chance: random.Random) -> bool:
    system.proxy.drip(20_000)
    try:
        await asyncio.sleep(chance.uniform(0.1, 2.0))
    finally:
        system.proxy.drip(None)
    return True


async def _away(system: System, chance: random.Random) -> bool:
    await system.proxy.away(chance.uniform(0.1, 3.0))
    return True


async def _deaf(system: System, chance: random.Random) -> bool:
    return await system.open_deaf()


# ---------------------------------------------------------------------- processes die, stand still, or are replaced


async def _mainframe(system: System, chance: random.Random) -> bool:
    await system.server.kill()
    return True


async def _executor(system: System, chance: random.Random) -> bool:
    return _kill_one(system.workers.pids(), chance)


async def _child(system: System, chance: random.Random) -> bool:
    return _kill_one(_children(system), chance)


def _kill_one(pids: list[int], chance: random.Random) -> bool:
    if not pids:
        return False
    with suppress(ProcessLookupError):
        os.kill(chance.choice(sorted(pids)), signal.SIGKILL)
    return True


def _children(system: System) -> list[int]:
    """Return what executors have started: processes of single jobs, and those that draw."""
    return [child for pid in system.workers.pids() for child in _children_of(pid)]


def _children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    return []


async def _oom(system: System, chance: random.Random) -> bool:
    """Let the kernel kill a process for its memory: the mainframe, an executor, or what one has started."""
    victims = [system.pids(), system.workers.pids(), _children(system)]
    pids = chance.choice([each for each in victims if each])
    with _little_memory(chance.choice(sorted(pids))) as ended, suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not ended():  # noqa: ASYNC110  # another process: nobody here can be told
                await asyncio.sleep(0.05)
    await system.server.come_back()
    return True


_CGROUPS = Path("/sys/fs/cgroup")


def _memory_group() -> Path | None:
    """Return the directory of this process's memory group, in which others can be made; None without one."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            place = _CGROUPS / "memory" if controllers == "memory" else _CGROUPS
            place = place / path.lstrip("/")
            if controllers in ("memory", "") and os.access(place, os.W_OK) and _limit_of(place) is not None:
                return place
    return None


def _limit_of(group: Path) -> Path | None:
    names = ("memory.limit_in_bytes", "memory.max")
    return next((group / name for name in names if (group / name).exists()), None)


@contextmanager
def _little_memory(pid: int) -> Iterator[Callable[[], bool]]:
    """Give a process next to no memory more; yields whether it has ended of that."""
    parent = _memory_group()
    assert parent is not None
    group = parent / f"asyncblock-chaos-{pid}"
    group.mkdir()
    try:
        limit = _limit_of(group)
        assert limit is not None
        limit.write_text(str(1 << 20))
        with suppress(OSError):
            (group / "cgroup.procs").write_text(str(pid))
        yield lambda: not (group / "cgroup.procs").read_text().split()
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (parent / "cgroup.procs").write_text(left)
        with suppress(OSError):
            group.rmdir()


def _no_groups() -> str | None:
    return None if _memory_group() is not None else "no memory group in which others can be made (cgroups, as root)"


async def _suspend(system: System, chance: random.Random) -> bool:
    """Let everything stand still, as a laptop that is closed."""
    return await _stand_still([*system.pids(), *system.workers.pids(), *_children(system)], chance, 20.0)


async def _freeze(system: System, chance: random.Random) -> bool:
    """Let one side stand still."""
    sides = [system.pids(), system.workers.pids()]
    return await _stand_still(chance.choice([each for each in sides if each]), chance, 8.0)


async def _stand_still(pids: list[int], chance: random.Random, most: float) -> bool:
    stopped = [pid for pid in pids if _signal(pid, signal.SIGSTOP)]
    try:
        await asyncio.sleep(chance.uniform(0.5, most))
    finally:
        for pid in stopped:
            _signal(pid, signal.SIGCONT)
    return bool(stopped)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


async def _busy(system: System, chance: random.Random) -> bool:
    """Give all of it one core, and that to somebody else as well."""
    pids = [*system.pids(), *system.workers.pids(), *_children(system)]
    cores = os.sched_getaffinity(0)
    core = {min(cores)}
    busy = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "while True: pass")
    try:
        for pid in (*pids, busy.pid):
            _place(pid, core)
        await asyncio.sleep(chance.uniform(1.0, 5.0))
    finally:
        busy.kill()
        await busy.wait()
        for pid in pids:
            _place(pid, cores)
    return True


def _place(pid: int, cores: set[int]) -> None:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)


def _no_cores() -> str | None:
    return None if hasattr(os, "sched_setaffinity") else "processes can't be bound to a core here"


async def _deploy(system: System, chance: random.Random) -> bool:
    """Put new executors in the place of all, while those run jobs."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            await system.workers.renew()
    return True


# ---------------------------------------------------------------------- clocks, certificates, orders


async def _clock(system: System, chance: random.Random) -> bool:
    """Set the mainframe's clock by hours, forwards or back; the other processes keep their own."""
    system.set_clock(chance.choice((-5, -1, 0, 0, 1, 5)) * 3600)
    return True


def faketime_library() -> str | None:
    """Return where libfaketime is; None without it."""
    for place in ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib"):
        for found in sorted(Path(place).glob("**/faketime/libfaketimeMT.so.1")):
            return str(found)
    return None


def _no_faketime() -> str | None:
    return None if faketime_library() else "libfaketime isn't installed"


async def _certificate(system: System, chance: random.Random) -> bool:
    """Put another certificate in the place of the one that is served."""
    await asyncio.to_thread(system.new_certificate)
    system.proxy.cut()
    return True


def _no_openssl() -> str | None:
    return None if shutil.which("openssl") else "openssl isn't installed"


async def _many(system: System, chance: random.Random) -> bool:
    """Cancel ten thousand open jobs at once."""
    await system.sessions.cancel_many()
    return True


FAULTS: dict[str, Fault] = {
    "mainframe": Fault("SIGKILL to the mainframe, which is started again", 3, _mainframe),
    "executor": Fault("SIGKILL to an executor", 3, _executor),
    "child": Fault("SIGKILL to a process of a single job, or to one that draws", 3, _child),
    "oom": Fault("the kernel kills one of these for its memory", 2, _oom, _no_groups),
    "cut": Fault("RST on all connections", 6, _cut),
    "gentle": Fault("FIN on all connections, as when a proxy restarts", 3, _gentle),
    "truncate": Fault("frames end in their middle", 4, _truncate),
    "half_open": Fault("one side sees its connections end, the other doesn't", 2, _half_open),
    "stall": Fault("connections swallow everything for a while", 3, _stall),
    "drip": Fault("20 kB a second", 2, _drip),
    "away": Fault("nobody listens for a while", 2, _away),
    "deaf": Fault("an observer that asks for everything and reads nothing, until the end", 1, _deaf),
    "suspend": Fault("everything stands still for up to 20 s, as on a laptop that is closed", 1, _suspend),
    "freeze": Fault("one side stands still", 2, _freeze),
    "busy": Fault("one core for everything, with a busy loop beside", 2, _busy, _no_cores),
    "deploy": Fault("new executors take the place of those that run jobs", 2, _deploy),
    "clock": Fault("the mainframe's clock is set by hours, forwards or back", 2, _clock, _no_faketime),
    "certificate": Fault(
        "another TLS certificate takes the place of the one that is served", 2, _certificate, _no_openssl
    ),
    "many": Fault("10,000 open jobs are cancelled at once", 1, _many),
}
