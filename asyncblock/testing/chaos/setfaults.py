"""The kinds of faults that a set of mainframes knows besides: those of its members, of the NATS nodes, and of the ways
between them."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from contextlib import suppress

from .chaosset import SET_NAME
from .faults import FAULTS, Fault
from .keptprocess import KeptProcess
from .proxies import FaultProxies
from .system import System

__all__ = ["SET_FAULTS"]

_AWAY = 5.0
"""The longest that something which was killed stays away, in seconds."""

_ASKED = 15.0
"""Seconds that a hand-over may take."""


# ---------------------------------------------------------------------- members


async def _owner(system: System, chance: random.Random) -> bool:
    return system.mainframes.owner.process.end(signal.SIGKILL, chance.uniform(0, _AWAY))


async def _member(system: System, chance: random.Random) -> bool:
    return chance.choice(system.mainframes.members).process.end(signal.SIGKILL, chance.uniform(0, _AWAY))


async def _leave(system: System, chance: random.Random) -> bool:
    return system.mainframes.owner.process.end(signal.SIGTERM, chance.uniform(0, _AWAY))


async def _hand_over(system: System, chance: random.Random) -> bool:
    """Ask for it as people do; whether it comes to pass is none of the fault's."""
    asking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncblock", "cluster", "hand-over", ",".join(system.mainframes.nodes.urls)),
        *("--name", SET_NAME),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        with suppress(TimeoutError):
            return await asyncio.wait_for(asking.wait(), _ASKED) == 0
        return False
    finally:
        with suppress(ProcessLookupError):
            asking.kill()
        await asking.wait()


async def _pause(system: System, chance: random.Random) -> bool:
    """Let the owner stand still: it wakes with what it had in flight when another one owns the set."""
    return await _stopped([system.mainframes.owner.process], chance.uniform(0.3, 8.0))


# ---------------------------------------------------------------------- NATS nodes


async def _node(system: System, chance: random.Random) -> bool:
    return chance.choice(system.mainframes.nodes.nodes).end(signal.SIGKILL, chance.uniform(0, _AWAY))


async def _leader(system: System, chance: random.Random) -> bool:
    leader = await system.mainframes.nodes.leader(system.mainframes.names)
    return leader is not None and leader.end(signal.SIGKILL, chance.uniform(0, _AWAY))


async def _nodes(system: System, chance: random.Random) -> bool:
    ended = [node.end(signal.SIGKILL, chance.uniform(0, _AWAY)) for node in system.mainframes.nodes.nodes]
    return any(ended)


async def _node_pause(system: System, chance: random.Random) -> bool:
    leader = await system.mainframes.nodes.leader(system.mainframes.names)
    nodes = [chance.choice(system.mainframes.nodes.nodes)] if leader is None or chance.random() < 0.3 else [leader]
    return await _stopped(nodes, chance.uniform(0.3, 8.0))


async def _machine(system: System, chance: random.Random) -> bool:
    """Let the machine of the owner and of a node die, that of the leader if it can be told."""
    leader = await system.mainframes.nodes.leader(system.mainframes.names)
    node = leader or chance.choice(system.mainframes.nodes.nodes)
    owner = system.mainframes.owner.process
    away = chance.uniform(0, _AWAY)
    return any([owner.end(signal.SIGKILL, away), node.end(signal.SIGKILL, away)])


# ---------------------------------------------------------------------- the ways to NATS, and between its nodes


async def _nats_cut(system: System, chance: random.Random) -> bool:
    for member in system.mainframes.members:
        member.nats.cut()
    return True


async def _nats_stall(system: System, chance: random.Random) -> bool:
    """Let the owner's words to NATS, and the answers, stand still; what was under way comes late, or never."""
    await _harmed(system.mainframes.owner.nats, chance)
    return True


async def _routes(system: System, chance: random.Random) -> bool:
    routes = system.mainframes.nodes.routes
    await _harmed(FaultProxies([chance.choice([*routes])]) if chance.random() < 0.5 else routes, chance)
    return True


async def _harmed(ways: FaultProxies, chance: random.Random) -> None:
    seconds = chance.uniform(0.3, 5.0)
    if chance.random() < 0.3:
        return await ways.away(seconds)
    try:
        ways.stall()
        ways.stall_new()
        await asyncio.sleep(seconds)
        if chance.random() < 0.5:
            ways.cut()
    finally:
        ways.resume()


async def _stopped(processes: list[KeptProcess], seconds: float) -> bool:
    stopped = [each for each in processes if each.tell(signal.SIGSTOP)]
    try:
        await asyncio.sleep(seconds)
    finally:
        for each in stopped:
            each.tell(signal.SIGCONT)
    return bool(stopped)


_SHARED = (
    *("executor", "child", "cut", "gentle", "truncate", "half_open", "stall", "drip", "away", "deaf"),
    *("suspend", "freeze", "busy", "deploy", "many"),
)
"""Kinds that one mainframe knows as well. Those of its clock and its certificate are tried there."""

SET_FAULTS: dict[str, Fault] = {
    "owner": Fault("SIGKILL to the member that owns the set; it comes back", 5, _owner),
    "member": Fault("SIGKILL to any member", 2, _member),
    "pause": Fault("the owner stands still for up to 8 s, and wakes when another one may own the set", 5, _pause),
    "leave": Fault("SIGTERM to the owner, which hands over", 2, _leave),
    "hand_over": Fault("'asyncblock cluster hand-over'", 1, _hand_over),
    "node": Fault("SIGKILL to a NATS node, which comes back", 2, _node),
    "leader": Fault("SIGKILL to the node that leads the stream", 3, _leader),
    "nodes": Fault("SIGKILL to all NATS nodes", 1, _nodes),
    "node_pause": Fault("a NATS node, mostly the leader, stands still for up to 8 s", 3, _node_pause),
    "machine": Fault("SIGKILL to the owner and to the node that leads the stream, at once", 2, _machine),
    "nats_cut": Fault("RST on the members' connections to NATS", 3, _nats_cut),
    "nats_stall": Fault(
        "the owner's connections to NATS swallow everything, or are refused, for a while", 5, _nats_stall
    ),
    "routes": Fault("the same between the NATS nodes, or to one of them", 3, _routes),
    **{name: FAULTS[name] for name in _SHARED},
}
