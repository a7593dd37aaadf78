"""Questions on their own: how many are on their way, what waits here, and whose turn it is. The peer is a list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import pytest

from asyncblock.errors import Closed
from asyncblock.link import questions
from asyncblock.link.questions import Questions, Rows
from asyncblock.wire.messages import Page, Reply


class Mainframe:
    """Knows which reads and requests are with it, and complains of one too many reads."""

    def __init__(self, limits: dict[str, int] | None = None) -> None:
        self.reads: dict[int, str] = {}
        self.requests: dict[str, str] = {}
        self.seen: set[str] = set()
        """Sessions that somebody has asked for."""
        self.most = 0
        self._told = asyncio.Event()
        self.questions = Questions(self._take)
        self.questions.allow(limits or {})

    def _take(self, line: bytes) -> None:
        message = orjson.loads(line)
        if message["op"] == "read":
            self.reads[message["id"]] = message["session_id"]
            self.seen.add(message["session_id"])
            self.most = max(self.most, len(self.reads))
        elif message["op"] == "unread":
            self.reads.pop(message["id"], None)
        else:
            self.requests[message["id"]] = message["method"]
        self._told.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of what is here."""
        async with asyncio.timeout(20):
            while not holds():
                self._told.clear()
                await self._told.wait()

    def page(self, session_id: str) -> None:
        [id] = [id for id, asked in self.reads.items() if asked == session_id]
        del self.reads[id]
        self.questions.paged(Page(id, 1, 0, [], True), [])

    def reply(self, id: str) -> None:
        del self.requests[id]
        self.questions.replied(Reply(id, {"sessions": [], "asked": id}))

    def read(self, session_id: str) -> asyncio.Task[Rows]:
        return asyncio.create_task(self.questions.read(session_id, -1, 1))

    def request(self, method: str, id: str) -> asyncio.Task[dict[str, object]]:
        return asyncio.create_task(self.questions.request(method, {}, id))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_reads_are_on_their_way_than_the_welcome_allows() -> None:
    peer = Mainframe({"reads": 3, "questions": 2})
    tasks = [peer.read(f"s{n}") for n in range(8)]
    await turns()
    assert sorted(peer.reads.values()) == ["s0", "s1", "s2"]
    for n in range(8):
        peer.page(f"s{n}")
        await turns()
    await asyncio.gather(*tasks)
    assert (peer.most, peer.reads) == (3, {})


async def test_each_read_has_a_turn_though_none_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of nine is answered, while the mainframe takes two and has no answer for the others."""
    monkeypatch.setattr(questions, "_TURN", 0.005)
    peer = Mainframe({"reads": 2})
    tasks = [peer.read(f"s{n}") for n in range(9)]
    await peer.until(lambda: "s8" in peer.reads.values())
    peer.page("s8")
    await tasks[8]
    assert peer.seen == {f"s{n}" for n in range(9)}
    assert peer.most == 2
    # With few enough left nobody has to make room any more.
    for n in range(6):
        tasks[n].cancel()
    await turns()
    assert sorted(peer.reads.values()) == ["s6", "s7"]
    for n in (6, 7):
        peer.page(f"s{n}")
    await asyncio.gather(*tasks[6:])


async def test_a_page_that_was_on_its_way_when_its_read_made_room_answers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_TURN", 0.005)
    peer = Mainframe({"reads": 1})
    first = peer.read("s0")
    await turns()
    [id] = peer.reads
    # From here on its turn may be over at any time.
    second = peer.read("s1")
    await peer.until(lambda: "s1" in peer.reads.values())
    peer.questions.paged(Page(id, 1, 0, [], True), [])
    await first
    await peer.until(lambda: "s1" in peer.reads.values())
    peer.page("s1")
    await second


async def test_what_is_asked_twice_takes_one_place_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first question comes when the second is with the mainframe, which would answer that, too."""
    monkeypatch.setattr(questions, "_TURN", 0.005)
    peer = Mainframe({"reads": 1})
    tasks = [peer.read("s0")]
    await turns()
    [id] = peer.reads
    tasks += [peer.read("s1"), peer.read("s2")]
    await peer.until(lambda: peer.seen == {"s0", "s1", "s2"} and id in peer.reads)
    peer.questions.paged(Page(id, 1, 0, [], True), [])
    await tasks[0]
    await turns()
    assert len(peer.reads) == 1
    assert id not in peer.reads
    assert peer.most == 1
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks[1:], return_exceptions=True)


async def test_reads_that_wait_here_are_withdrawn_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Mainframe({"reads": 1})
    first, second = peer.read("s0"), peer.read("s1")
    await turns()
    second.cancel()
    await turns()
    peer.page("s0")
    await first
    await turns()
    assert peer.seen == {"s0"}


async def test_after_a_welcome_no_more_is_asked_again_than_it_allows() -> None:
    peer = Mainframe({"reads": 4})
    tasks = [peer.read(f"s{n}") for n in range(5)]
    await turns()
    peer.reads.clear()
    peer.questions.allow({"reads": 2})
    again = [orjson.loads(line)["session_id"] for line in peer.questions.lines()]
    assert again == ["s0", "s1"]
    for task in tasks:
        task.cancel()
    peer.reads = dict(enumerate(map(str, range(9))))
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_questions_wait_for_their_turn_and_orders_pass_them() -> None:
    peer = Mainframe({"questions": 2})
    asked = [peer.request("sessions", f"q{n}") for n in range(5)]
    await turns()
    cancel = peer.request("cancel", "c")
    await turns()
    assert peer.requests == {"q0": "sessions", "q1": "sessions", "c": "cancel"}
    peer.reply("c")
    await cancel
    for n in range(5):
        peer.reply(f"q{n}")
        await turns()
    assert [(await each)["asked"] for each in asked] == [f"q{n}" for n in range(5)]


async def test_a_mainframe_that_names_no_limits_gets_as_much_as_those_of_earlier_versions_take() -> None:
    peer = Mainframe()
    reads = [peer.read(f"s{n}") for n in range(questions.MAX_READS + 10)]
    asked = [peer.request("info", f"q{n}") for n in range(questions.MAX_QUESTIONS + 10)]
    await turns()
    assert (len(peer.reads), len(peer.requests)) == (questions.MAX_READS, questions.MAX_QUESTIONS)
    peer.questions.end(Closed("the link is closed"))
    assert {type(each) for each in await asyncio.gather(*reads, *asked, return_exceptions=True)} == {Closed}
