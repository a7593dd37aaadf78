"""Nobody speaks for another: what each message does, by the token's role and by whose things it names."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from asyncblock.server.settings import Settings
from asyncblock.testing import FaultProxy
from asyncblock.transport.websocket import connect_websocket
from asyncblock.wire.bodies import CHUNK_SIZE, encode_chunk
from asyncblock.wire.methods import METHODS
from asyncblock.wire.states import RECEIVE, ConnectionState, Role

from ..peers import HASH, Peer, mainframe, node, plan
from .served import ROLES, Served, served

pytestmark = pytest.mark.timeout(240)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}
DATA = b'"' + b"v" * 70_000 + b'"'
REF = {"n": 1, "length": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(), "encoding": "json"}
NAMING = {"type": "BlockOutput", "handle": "out", "body": REF, "done": False, "t": 1}
EXECUTOR = {"languages": ["python"], "packages": {"0ther": "p"}, "slots": {"async": 1}}

_ids = itertools.count()


@dataclass
class Things:
    """A link, and the session, job, channel and body that it has."""

    link: str
    session: str
    job: str
    channel: int
    token: str = ""
    sender: str = ""
    """The link whose body the session has."""


@dataclass
class Case:
    """One row of the table for one role: who attacks, over which connection, and what it names."""

    house: Served
    role: str
    peer: Peer
    own: Things
    it: Things
    """What the message names: its own, another's, or what doesn't exist."""

    async def again(self, **fields: Any) -> str:
        """Say Hello on a new connection."""
        peer = await self.house.peer(self.role)
        return outcome(await peer.hello(**{"link": f"again{next(_ids)}", **fields}))

    async def asked(self, method: str, **params: object) -> str:
        return outcome(await self.peer.ask(method, id=f"q{next(_ids)}", **params))

    async def as_job(self, method: str, **params: object) -> str:
        who = {"session_id": self.it.session, "job_id": self.it.job, "attempt": 1}
        return await self.asked(method, **who, **params)

    async def settled(self) -> str:
        """Ask for something that everybody may: what was said before is done with by then."""
        await self.peer.say("request", id="after", method="info", params={})
        return outcome(await self.peer.until("reply", "bye"))


def outcome(message: dict[str, Any]) -> str:
    if message["op"] == "bye":
        assert message["code"] in ("unauthorized", "unreadable"), message
        return "ends"
    return "refused" if message.get("error") or message["op"] in ("refused", "close") else "allowed"


# ---------------------------------------------------------------------- what is said


async def hello(case: Case) -> str:
    token = case.own.token if case.it is case.own else "0" * 32
    known = {} if case.it.link.startswith("nobody") else {"token": token}
    return await case.again(link=case.it.link, generation=9, **known)


async def hello_without_proof(case: Case) -> str:
    return await case.again(link=case.it.link, generation=9)


async def hello_of_another_epoch(case: Case) -> str:
    return await case.again(link=case.it.link, generation=9, epoch="another", boot="another")


async def hello_with_a_secret(case: Case) -> str:
    secret = case.own.token if case.it is case.own else "s" * 32
    return await case.again(link=case.it.link, generation=9, secret=secret, boot="another")


async def hello_replaces(case: Case) -> str:
    secret = case.own.token if case.it is case.own else "s" * 32
    return await case.again(replaces={"link": case.it.link, "reason": "dead", "secret": secret})


async def hello_replaces_without_proof(case: Case) -> str:
    return await case.again(replaces={"link": case.it.link, "reason": "dead"})


async def hello_replaces_before(case: Case) -> str:
    before = [{"link": case.it.link, "reason": "dead", "token": "t" * 32}]
    return await case.again(replaces={"link": "nobody", "reason": "dead", "before": before})


async def hello_channels(case: Case) -> str:
    peer = await case.house.peer(case.role)
    said = await peer.hello(f"again{next(_ids)}", channels=[[case.it.channel, case.it.job, 1]])
    return outcome(said) if said["op"] == "bye" else outcome(await peer.until("close"))


async def hello_executor(case: Case) -> str:
    return await case.again(executor=EXECUTOR)


async def announce(case: Case) -> str:
    await case.peer.say("announce", executor=EXECUTOR)
    return await case.settled()


async def announce_nothing(case: Case) -> str:
    await case.peer.say("announce", executor=None)
    return await case.settled()


async def batch(case: Case) -> str:
    await case.peer.batch(2, case.it.channel, {"type": "BlockProgress", "rate": 1, "t": 1})
    said = await case.peer.until("ack", "bye")
    refused = [each for each in case.peer.came if each["op"] == "refused"]
    return outcome(refused[0] if refused else said)


async def send_body(peer: Peer, n: int) -> None:
    """Send all of a body, in chunks of the size that may be."""
    for start in range(0, len(DATA), CHUNK_SIZE):
        await peer.transport.send(encode_chunk(n, start, DATA[start : start + CHUNK_SIZE]))


async def chunk(case: Case) -> str:
    await case.peer.transport.send(encode_chunk(77, 0, DATA[:CHUNK_SIZE]))
    return await case.settled()


async def whole(case: Case) -> str:
    n = 1 if case.it is case.own else 66
    if case.it is case.own and case.role == "executor":
        await send_body(case.peer, n := 78)
    await case.peer.say("whole", n=n, length=len(DATA), sha256=REF["sha256"])
    return outcome(await case.peer.until("kept", "bye"))


async def discard(case: Case) -> str:
    await case.peer.say("discard", bodies=[1, 66])
    return await case.settled()


async def stalled(case: Case) -> str:
    await case.peer.say("stalled", channel=case.it.channel, seconds=5.0, where="main (a.py:3)")
    return await case.settled()


async def gone(case: Case) -> str:
    secret = case.own.token if case.it is case.own else "s" * 32
    await case.peer.say("gone", link=case.it.link, reason="dead", secret=secret)
    return await case.settled()


async def gone_without_proof(case: Case) -> str:
    await case.peer.say("gone", link=case.it.link, reason="dead")
    return await case.settled()


async def ping(case: Case) -> str:
    await case.peer.say("ping")
    return await case.settled()


async def read(case: Case) -> str:
    await case.peer.say("read", id=5, session_id=case.it.session, offset=0)
    return outcome(await case.peer.until("page", "bye"))


async def unread(case: Case) -> str:
    await case.peer.say("unread", id=5)
    return await case.settled()


async def fetch(case: Case) -> str:
    await case.peer.say("fetch", id=5, link=case.it.sender, n=1, offset=0, size=len(DATA))
    said = outcome(await case.peer.until("fetched", "bye"))
    got = b"".join(each["data"][17:] for each in case.peer.came if each["op"] == "chunk")
    assert got == (DATA if said == "allowed" else b"")
    return said


async def get_body(case: Case) -> str:
    headers = {"Authorization": f"Bearer token-of-{case.role}"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{case.house.url.replace('ws', 'http', 1)}/bodies/{case.it.sender}-1", headers=headers)
    assert (answer.status_code, answer.content) == (200, DATA) or answer.status_code in (403, 404)
    return "allowed" if answer.status_code == 200 else "refused"


async def bye(case: Case) -> str:
    await case.peer.say("bye", code="closed", reason="", stop=True)
    await case.peer.ended()
    return "ends"


def said_downwards_only(op: str) -> Callable[[Case], Awaitable[str]]:
    async def say(case: Case) -> str:
        await case.peer.say(op, id="1", link=case.it.link, job_id=case.it.job, attempt=1, channel=1, reason="")
        return outcome(await case.peer.until("bye"))

    return say


def request(method: str, **more: object) -> Callable[[Case], Awaitable[str]]:
    async def ask(case: Case) -> str:
        return await case.asked(method, session_id=case.it.session, **more)

    ask.method = method  # type: ignore[attr-defined]
    return ask


def request_as_job(method: str, **more: object) -> Callable[[Case], Awaitable[str]]:
    async def ask(case: Case) -> str:
        return await case.as_job(method, **more)

    ask.method = method  # type: ignore[attr-defined]
    return ask


async def start(case: Case) -> str:
    return await case.asked("start", session_id=f"new{next(_ids)}", plan=plan(node("n", block={"hash": "n0body"})))


async def cancel_job(case: Case) -> str:
    if case.role == "client":
        pytest.fail("a client may cancel: there is nothing to see")
    return await case.asked("cancel_job", session_id=case.it.session, job_id=case.it.job)


async def drain(case: Case) -> str:
    # False: what the other rows need goes on taking jobs.
    return await case.asked("drain", link=case.it.link, drained=False)


async def executor_held(case: Case) -> str:
    secret = case.own.token if case.it is case.own else "s" * 32
    return await case.asked("executor_held", link=case.it.link, seconds=9, threads=[], works=True, secret=secret)


async def run_block(case: Case) -> str:
    return await case.as_job("run_block", block_job_id=f"{case.it.job}.1.x", block="self::nothing", inputs={})


OWN, OTHERS, UNKNOWN = "own", "another's", "unknown"

ALL = ("allowed", "allowed", "allowed")
NONE = ("refused", "refused", "refused")
ENDS = ("ends", "ends", "ends")
WORKERS = ("allowed", "ends", "ends")
READERS = ("refused", "allowed", "allowed")

TABLE: list[tuple[Callable[[Case], Awaitable[str]], str, tuple[str, str, str]]] = [
    # What is said, whose things it names, what becomes of it for an executor, a client, an observer.
    (hello, OWN, ALL),
    (hello, OTHERS, ENDS),
    (hello, UNKNOWN, ALL),
    (hello_without_proof, OWN, ENDS),
    (hello_without_proof, OTHERS, ENDS),
    (hello_of_another_epoch, OWN, ENDS),
    (hello_of_another_epoch, OTHERS, ENDS),
    (hello_of_another_epoch, UNKNOWN, ALL),
    (hello_with_a_secret, OWN, ALL),
    (hello_with_a_secret, OTHERS, ENDS),
    (hello_with_a_secret, UNKNOWN, ALL),
    (hello_replaces, OWN, WORKERS),
    (hello_replaces, OTHERS, ENDS),
    (hello_replaces, UNKNOWN, WORKERS),
    (hello_replaces_without_proof, OWN, ENDS),
    (hello_replaces_without_proof, OTHERS, ENDS),
    (hello_replaces_before, OTHERS, ENDS),
    (hello_channels, OWN, ("refused", "ends", "ends")),
    (hello_channels, OTHERS, ("refused", "ends", "ends")),
    (hello_channels, UNKNOWN, ("refused", "ends", "ends")),
    (hello_executor, OWN, WORKERS),
    (announce, OWN, WORKERS),
    (announce_nothing, OWN, ALL),
    (batch, OWN, WORKERS),
    (batch, OTHERS, ("refused", "ends", "ends")),
    (batch, UNKNOWN, ("refused", "ends", "ends")),
    (chunk, OWN, WORKERS),
    (whole, OWN, WORKERS),
    (whole, UNKNOWN, ENDS),
    (discard, OWN, WORKERS),
    # A job may have ended meanwhile: what is said of it then changes nothing.
    (stalled, OWN, WORKERS),
    (stalled, OTHERS, WORKERS),
    (stalled, UNKNOWN, WORKERS),
    (gone, OWN, WORKERS),
    (gone, OTHERS, ENDS),
    (gone, UNKNOWN, WORKERS),
    (gone_without_proof, OTHERS, ENDS),
    (ping, OWN, ALL),
    (read, OWN, ALL),
    (read, OTHERS, READERS),
    (read, UNKNOWN, NONE),
    (unread, OWN, ALL),
    (fetch, OWN, ALL),
    (fetch, OTHERS, READERS),
    (fetch, UNKNOWN, NONE),
    (get_body, OWN, READERS),
    (get_body, OTHERS, READERS),
    (get_body, UNKNOWN, NONE),
    (bye, OWN, ENDS),
    (request("info"), OWN, ALL),
    (request("sessions"), OWN, READERS),
    (request("session"), OWN, READERS),
    (request("session"), OTHERS, READERS),
    (request("session"), UNKNOWN, NONE),
    (start, OWN, ("refused", "allowed", "refused")),
    (request("cancel"), OWN, ("refused", "allowed", "refused")),
    (request("cancel"), UNKNOWN, NONE),
    # A client may cancel what others have started, there are no tenants: that would end what the other rows need.
    (request("cancel_job", job_id="none"), OWN, NONE),
    (request("cancel_job", job_id="none"), OTHERS, NONE),
    (request("cancel_job", job_id="none"), UNKNOWN, NONE),
    (request("message_service", node_id="n"), OWN, NONE),
    (request("message_service", node_id="n"), OTHERS, NONE),
    (request("message_service", node_id="n"), UNKNOWN, NONE),
    (request("prune", keep=1_000_000), OWN, ("refused", "allowed", "refused")),
    (request("no such method"), OWN, NONE),
    (request("executors"), OWN, READERS),
    # What isn't an executor can't be drained; a client may drain those of others.
    (drain, OWN, NONE),
    (drain, OTHERS, ("refused", "allowed", "refused")),
    (drain, UNKNOWN, NONE),
    (executor_held, OWN, ("allowed", "refused", "refused")),
    (executor_held, OTHERS, NONE),
    (executor_held, UNKNOWN, ("allowed", "refused", "refused")),
    # The flow has no such block: whoever is let in is told that, see the test of its words.
    (run_block, OWN, NONE),
    (run_block, OTHERS, NONE),
    (run_block, UNKNOWN, NONE),
    (request_as_job("query_downstream"), OWN, ("allowed", "refused", "refused")),
    (request_as_job("query_downstream"), OTHERS, NONE),
    (request_as_job("query_downstream"), UNKNOWN, NONE),
    (request_as_job("update_node_weight", node_id="n", weight=1), OWN, ("allowed", "refused", "refused")),
    (request_as_job("update_node_weight", node_id="n", weight=1), OTHERS, NONE),
    (request_as_job("update_node_weight", node_id="n", weight=1), UNKNOWN, NONE),
    # What it could mean isn't there: it has asked for no block, the flow has no other one, and it has begun.
    *[
        (request_as_job(method, **more), whose, NONE)
        for whose in (OWN, OTHERS, UNKNOWN)
        for method, more in (
            ("cancel_block", {"block_job_id": "x", "reason": ""}),
            ("query_block", {"block": "self::x"}),
            ("give_back", {"reason": "edited"}),
        )
    ],
    # A value may be gone meanwhile: what is said of it then changes nothing.
    *[
        (request_as_job(method, place=0, error="gone"), whose, ("allowed", "refused", "refused"))
        for whose in (OWN, OTHERS, UNKNOWN)
        for method in ("exported", "carried")
    ],
    # Of its own slots.
    *[
        (request_as_job("free", kind="loop", slots=1), whose, ("allowed", "refused", "refused"))
        for whose in (OWN, OTHERS, UNKNOWN)
    ],
    *[
        (said_downwards_only(op), OTHERS, ENDS)
        for op in (
            "welcome", "ack", "kept", "dispatch", "cancel", "spawn", "unspawn", "close", "session_ended", "carry",
            "service_message", "refused", "reply", "page", "fetched", "hello", "nod",
        )
    ],
]  # fmt: skip


async def worker(house: Served, link: str, session: str, next_channel: int = 1) -> tuple[Peer, Things]:
    """Give a hand-made executor a job and let it say a value that is a body."""
    peer = await house.peer("executor")
    # A package of its own: the mainframe may not have seen yet that others have left.
    can = {"languages": ["python"], "packages": {f"h{link}": "p"}, "slots": {"async": 1}}
    welcome = await peer.hello(link, executor=can, next_channel=next_channel)
    made = plan(node("n", block={"hash": f"h{link}"}))
    await house.client.link.request("start", {"session_id": session, "plan": made})
    dispatch = await peer.until("dispatch")
    await send_body(peer, 1)
    await peer.batch(1, dispatch["channel"], STARTED, NAMING)
    await peer.until("ack")
    return peer, Things(link, session, dispatch["job_id"], dispatch["channel"], welcome["token"], link)


async def case_of(house: Served, role: str, whose: str, others: Things, watched: Things) -> Case:
    """Make the attacker of a row. Executors have a job of their own; others count as theirs what they watch."""
    number = next(_ids)
    if role == "executor":
        peer, own = await worker(house, f"own{number}", f"own{number}")
    else:
        peer = await house.peer(role)
        welcome = await peer.hello(f"own{number}")
        own = replace(watched, link=f"own{number}", token=welcome["token"])
    unknown = Things(f"nobody{number}", "nothing", "nothing.1", 9999, "", f"nobody{number}")
    return Case(house, role, peer, own, {OWN: own, OTHERS: others, UNKNOWN: unknown}[whose])


NAMES_NOTHING = {
    "ping",
    "announce",
    "discard",
    "unread",
    "chunk",
    "bye",
    "info",
    "sessions",
    "prune",
    "start",
    "executors",
}
"""What is about whoever says it, and nobody else's."""

NOT_BY_CLIENTS = {("cancel", OTHERS)}


def about(say: Callable[[Case], Awaitable[str]]) -> str:
    """Return the message, or the method, that a row is about."""
    name = getattr(say, "method", say.__name__)
    return "bodies" if name == "get_body" else name.partition("_")[0] if name.startswith(("hello_", "gone_")) else name


def test_the_table_has_each_message_and_method_about_ones_own_anothers_and_unknown_things() -> None:
    rows = {(about(say).removesuffix("_nothing"), whose) for say, whose, _ in TABLE}
    ops = RECEIVE[Role.UPPER][ConnectionState.OPEN].keys() | RECEIVE[Role.UPPER][ConnectionState.GREETING].keys()
    needed = {
        (name, whose)
        for name in (ops - {"request", "whole"}) | METHODS.keys()
        for whose in ((OWN,) if name in NAMES_NOTHING else (OWN, OTHERS, UNKNOWN))
    }
    assert needed - rows == NOT_BY_CLIENTS


def title(say: Callable[[Case], Awaitable[str]], whose: str) -> str:
    return f"{about(say)} ({say.__qualname__}) {whose}"


async def test_each_message_does_what_the_table_says_and_disturbs_nobody(tmp_path: Path) -> None:
    async with served(tmp_path) as house, house.innocent() as innocent:
        bystander, theirs = await worker(house, "bystander", "theirs", next_channel=500)
        _, watched = await worker(house, "watched", "watched")
        # By turns: what an executor has that is written by hand, and what a real one has.
        others = [theirs, replace(theirs, link=innocent.link, session=innocent.session.session_id, job=innocent.job)]
        wrong = []
        for number, (say, whose, expected) in enumerate(TABLE):
            for role, wanted in zip(ROLES, expected, strict=True):
                case = await case_of(house, role, whose, others[number % 2], watched)
                found = await say(case)
                if found != wanted:
                    wrong.append(f"{number} {title(say, whose)} by {role}: {found}, not {wanted}")
                case.peer.transport.abort()
            innocent.check()
        assert not wrong, "\n".join(wrong)
        # It isn't only there: it is heard, and its job goes on to its end.
        await bystander.batch(2, theirs.channel, FINISHED)
        assert (await bystander.until("ack"))["seq"] == 2
        assert (await house.client.link.request("session", {"session_id": "theirs"}))["state"] == "succeeded"


async def test_whoever_is_let_in_is_told_what_is_wrong_with_its_question(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        peer, own = await worker(house, "own", "own")
        who: dict[str, Any] = {"session_id": own.session, "job_id": own.job, "attempt": 1}
        reply = await peer.ask("run_block", **who, block_job_id=f"{own.job}.1.x", block="self::nothing", inputs={})
        assert reply["error"]["code"] == "unknown_block"


SECRET = "0123456789abcdef"


async def test_a_reconnect_does_not_wait_for_the_half_open_socket_of_the_one_before(tmp_path: Path) -> None:
    async with served(tmp_path) as house, FaultProxy("127.0.0.1", int(house.url.rpartition(":")[2])) as proxy:
        older = Peer(await connect_websocket(f"ws://127.0.0.1:{proxy.port}", "token-of-executor", max_message=1 << 22))
        welcome = await older.hello("worker", slots=1)
        await house.client.link.request("start", {"session_id": "s", "plan": plan(node("n"))})
        dispatch = await older.until("dispatch")
        await older.batch(1, dispatch["channel"], STARTED)
        await older.until("ack")
        proxy.half_open()
        newer = await house.peer("executor")
        began = asyncio.get_running_loop().time()
        open_jobs = [[dispatch["channel"], dispatch["job_id"], 1]]
        again = await newer.hello("worker", slots=1, generation=2, token=welcome["token"], channels=open_jobs)
        assert asyncio.get_running_loop().time() - began < 5
        assert (again["op"], again["resumed"], again["stored"]) == ("welcome", True, 1)
        await newer.batch(2, dispatch["channel"], FINISHED)
        await newer.until("ack")
        assert (await house.client.link.request("session", {"session_id": "s"}))["state"] == "succeeded"
        older.transport.abort()


async def test_an_older_generation_replaces_nobody_though_it_has_the_secret(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        first = await house.peer("executor")
        token = (await first.hello("worker", slots=1, generation=5, secret=SECRET))["token"]
        for fields in ({"token": token}, {"secret": SECRET}, {"secret": SECRET, "boot": "another"}):
            for generation in (4, 5):
                late = await (await house.peer("executor")).hello("worker", slots=1, generation=generation, **fields)
                assert (late["op"], late["code"], late["stop"]) == ("bye", "replaced", False)
        await first.say("ping")
        assert (await first.ask("info"))["error"] is None


async def test_whoever_lost_its_first_welcome_comes_back_with_its_secret(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        first = await house.peer("executor")
        await house.client.link.request("start", {"session_id": "s", "plan": plan(node("n"))})
        assert (await first.hello("worker", slots=1, secret=SECRET))["token"] == SECRET
        given = await first.until("dispatch")
        first.transport.abort()
        second = await house.peer("executor")
        welcome = await second.hello("worker", slots=1, generation=2, secret=SECRET)
        assert (welcome["op"], welcome["resumed"]) == ("welcome", True)
        again = await second.until("dispatch")
        assert (again["job_id"], again["attempt"], again["channel"]) == (given["job_id"], 1, given["channel"])


async def test_a_new_process_with_the_secret_of_one_that_is_gone_begins_anew(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        first = await house.peer("executor")
        await house.client.link.request("start", {"session_id": "s", "plan": plan(node("n"))})
        await first.hello("worker", slots=1, secret=SECRET)
        given = await first.until("dispatch")
        first.transport.abort()
        second = await house.peer("executor")
        async with asyncio.timeout(20):
            # Until the mainframe has seen the end of the first connection.
            while (said := await second.hello("worker", slots=1, secret=SECRET, boot="another"))["op"] == "bye":
                second = await house.peer("executor")
        assert said["stored"] == 0
        again = await second.until("dispatch")
        assert (again["job_id"], again["attempt"]) == (given["job_id"], 2)


async def test_a_process_for_one_job_is_who_was_given_its_secret(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        host = await house.peer("executor")
        can = {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": 0, "spawn": 1}}
        await host.hello("host", executor=can)
        made = plan(node("n", block={"spawn": True}))
        await house.client.link.request("start", {"session_id": "s", "plan": made})
        spawn = await host.until("spawn")
        one = {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": 1}, "once": True}
        for proof in ({}, {"secret": "s" * 32}, {"token": spawn["secret"]}):
            thief = await (await house.peer("executor")).hello(spawn["link"], executor=one, **proof)
            assert (thief["op"], thief["code"]) == ("bye", "unauthorized")
        process = await house.peer("executor")
        assert (await process.hello(spawn["link"], executor=one, secret=spawn["secret"]))["op"] == "welcome"
        assert (await process.until("dispatch"))["session_id"] == "s"
        # From here on it is a link like others, and its host may still tell of its end.
        thief = await (await house.peer("executor")).hello(spawn["link"], executor=one, generation=2)
        assert (thief["op"], thief["code"]) == ("bye", "unauthorized")
        await host.say("gone", link=spawn["link"], reason="killed")
        assert (await process.until("close"))["reason"].endswith("killed")


async def test_what_a_mainframe_kept_of_a_link_proves_its_owner_after_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        workers = [await house.peer("executor") for _ in range(3)]
        for number, peer in enumerate(workers):
            await peer.hello(f"worker{number}", slots=1, secret=f"{number}" * 16)
            await house.client.link.request("start", {"session_id": f"s{number}", "plan": plan(node("n"))})
            dispatch = await peer.until("dispatch")
            await peer.batch(1, dispatch["channel"], STARTED)
            await peer.until("ack")
    async with served(tmp_path) as house:
        for fields in ({}, {"secret": SECRET}):
            thief = await house.peer("executor")
            said = await thief.hello("thief", replaces={"link": "worker0", "reason": "dead", **fields})
            assert (said["op"], said["code"]) == ("bye", "unauthorized")
            thief = await house.peer("executor")
            await thief.hello(f"thief{len(fields)}")
            await thief.say("gone", link="worker1", reason="dead", **fields)
            assert (await thief.until("bye"))["code"] == "unauthorized"
        states = [await house.client.link.request("session", {"session_id": f"s{n}"}) for n in range(3)]
        assert [each["state"] for each in states] == ["running"] * 3
        owner = await house.peer("executor")
        await owner.hello("parent", replaces={"link": "worker0", "reason": "killed", "secret": "0" * 16})
        await owner.say("gone", link="worker1", reason="killed", secret="1" * 16)
        assert (await owner.ask("info"))["error"] is None
        states = [await house.client.link.request("session", {"session_id": f"s{n}"}) for n in range(3)]
        assert [each["state"] for each in states] == ["failed", "failed", "running"]


async def test_the_id_of_a_link_that_is_over_is_nobodys_while_its_values_are_there(tmp_path: Path) -> None:
    async with served(tmp_path) as house, house.innocent():
        worker_, own = await worker(house, "worker", "s")
        await worker_.batch(2, own.channel, FINISHED)
        await worker_.until("ack")
        await worker_.say("bye", code="closed", reason="", stop=True)
        await worker_.ended()
        for link in ("worker", f"mainframe-{own.session}"):
            said = await (await house.peer("executor")).hello(link, slots=1)
            assert (said["op"], said["stop"]) == ("bye", True)
        reader = await house.peer("observer")
        await reader.hello("reader")
        await reader.say("fetch", id=1, link="worker", n=1, offset=0, size=len(DATA))
        assert (await reader.until("fetched"))["error"] is None


async def test_a_link_whose_values_are_there_is_known_however_long_it_is_away(tmp_path: Path) -> None:
    async with served(tmp_path, Settings(link_expiry=0.0, heartbeat=60)) as house:
        worker_, own = await worker(house, "worker", "s")
        idle = await house.peer("executor")
        await idle.hello("idle")
        await worker_.batch(2, own.channel, FINISHED)
        await worker_.until("ack")
        for peer in (worker_, idle):
            peer.transport.abort()
        links = house.server.sessions.dispatch.links
        async with asyncio.timeout(20):
            while "idle" in links:
                await house.server.gateway.expire()
                await asyncio.sleep(0.01)
        again = await (await house.peer("executor")).hello("worker", generation=2, token=own.token)
        assert (again["op"], again["resumed"], again["stored"]) == ("welcome", True, 2)
        thief = await (await house.peer("executor")).hello("worker", generation=3)
        assert thief["code"] == "unauthorized"


SLIPS: list[tuple[str, dict[str, Any]]] = [
    ("languages", {"languages": "python"}),
    ("languages", {"languages": [7]}),
    ("languages", {"languages": [""]}),
    ("languages", {"languages": None}),
    ("languages", {"languages": ["p"] * 101}),
    ("packages", {"packages": ["p"]}),
    ("packages", {"packages": {HASH: 7}}),
    ("packages", {"packages": {"": "p"}}),
    ("slots", {"slots": 4}),
    ("slots.async", {"slots": {}}),
    ("slots.async", {"slots": {"asnyc": 4}}),
    ("slots.async", {"slots": {"async": "4"}}),
    ("slots.async", {"slots": {"async": True}}),
    ("slots.async", {"slots": {"async": -1}}),
    ("slots.async", {"slots": {"async": 1.5}}),
    ("slots.async", {"slots": {"async": 1 << 40}}),
    ("slots.sync", {"slots": {"async": 1, "sync": None}}),
    ("slots.spawn", {"slots": {"async": 1, "spawn": [2]}}),
    ("once", {"once": "yes"}),
]


@pytest.mark.parametrize(("name", "fields"), SLIPS, ids=[orjson.dumps(fields).decode()[:40] for _, fields in SLIPS])
async def test_a_slip_in_an_announcement_is_named(tmp_path: Path, name: str, fields: dict[str, Any]) -> None:
    async with mainframe(tmp_path) as host:
        said = await host.peer().hello(executor={**EXECUTOR, **fields})
        assert (said["op"], said["code"]) == ("bye", "unreadable")
        assert name in said["reason"]
        peer = host.peer()
        await peer.hello("second", slots=1)
        await peer.say("announce", executor={**EXECUTOR, **fields})
        assert name in (await peer.until("bye"))["reason"]


@pytest.mark.parametrize("name", ["languages", "packages", "slots"])
async def test_a_field_that_an_announcement_lacks_is_named(tmp_path: Path, name: str) -> None:
    async with mainframe(tmp_path) as host:
        said = await host.peer().hello(executor={key: EXECUTOR[key] for key in EXECUTOR if key != name})
        assert (said["code"], "lacks" in said["reason"], name in said["reason"]) == ("unreadable", True, True)


async def test_no_secret_is_said_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "asyncblock")
    async with mainframe(tmp_path) as host:
        heard = ""
        for fields in (
            {"secret": ["5ecret"]},
            {"token": 5.5e50},
            {"secret": "5ecret"},
            {"replaces": "5ecret"},
            {"replaces": {"link": 7, "secret": "5ecret"}},
        ):
            heard += str(await host.peer().hello(**fields))
        owner = host.peer()
        await owner.hello("owner", secret=SECRET)
        heard += str(await host.peer().hello("owner", secret="5ecret" * 4))
        heard += str(await host.peer().hello("other", replaces={"link": "owner", "secret": "5ecret" * 4}))
    for each in ("5ecret", "5.5e+50", "5.5e50"):
        assert each not in heard + caplog.text
