"""What every journal must do, as functions of a way to open one. A failed check is an ``AssertionError``.

``Open`` opens the journal of one place, and again after it was closed; each check gets a place of its own, and closes
what it opens.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from ...errors import AsyncBlockError, Closed, LocalProtocolError, RemoteProtocolError, Unavailable
from ...server.journal import (
    BodyKey,
    BodyRow,
    DropBody,
    Journal,
    LinkRow,
    RequestRow,
    SessionRow,
    Snapshot,
    Write,
)

__all__ = ["CHECKS", "Check", "Open", "link", "session", "stored"]

Open = Callable[[], Awaitable[Journal]]
Check = Callable[[Open], Awaitable[None]]


def session(number: int, state: str = "running") -> SessionRow:
    """Return a session's row."""
    return SessionRow(session_no=number, session_id=f"s{number}", created_at=1_000 + number, state=state, title="t")


def link(number: int, link_id: str = "link") -> LinkRow:
    """Return a link's row."""
    return LinkRow(link_no=number, link_id=link_id, token_hash="hash", generation=1, boot="boot")


async def stored(journal: Journal, *writes: Write, urgent: bool = False) -> None:
    """Write and wait until it is stored."""
    for write in writes:
        journal.write(write, urgent=urgent)
    await journal.flush()


async def entries(journal: Journal, number: int, payloads: Sequence[bytes]) -> None:
    """Store entries of a session, which is made if need be."""
    write = Write()
    if await journal.session(f"s{number}") is None:
        write.session(session(number))
    first = (await everything(journal, number))[-1:]
    for offset, payload in enumerate(payloads, first[0][0] + 1 if first else 0):
        write.entry(number, offset, payload)
    await stored(journal, write)


async def everything(journal: Journal, number: int, max_bytes: int = 1 << 20) -> list[tuple[int, bytes]]:
    """Read all entries of a session, page by page."""
    rows: list[tuple[int, bytes]] = []
    while page := await journal.page(number, rows[-1][0] + 1 if rows else 0, max_bytes):
        rows += page
    return rows


@asynccontextmanager
async def opened(open_journal: Open) -> AsyncIterator[Journal]:
    """Open a journal for a block."""
    journal = await open_journal()
    try:
        yield journal
    finally:
        await journal.close()


async def raises(error: type[AsyncBlockError], act: Awaitable[object]) -> AsyncBlockError:
    """Await something that must end with an error."""
    try:
        await act
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was to be raised")


def refuses(error: type[AsyncBlockError], act: Callable[[], object]) -> AsyncBlockError:
    """Call something that must raise an error."""
    try:
        act()
    except error as caught:
        return caught
    raise AssertionError(f"{error.__name__} was to be raised")


def sum_of(data: bytes) -> str:
    """Return the sum that a record carries."""
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------- writes


async def check_what_is_stored_is_read(open_journal: Open) -> None:
    """A read sees everything whose ``stored`` has run, all of a write at once."""
    async with opened(open_journal) as journal:
        for number in range(1, 30):
            seen = asyncio.get_running_loop().create_future()
            write = Write(lambda seen=seen: seen.set_result(None))  # type: ignore[misc]  # default binds
            write.session(session(number))
            write.entry(number, 0, b"first")
            write.entry(number, 1, b"second")
            write.link(link(number, f"link{number}"))
            write.mark(number, 7)
            journal.write(write)
            await seen
            assert await journal.page(number, 0) == [(0, b"first"), (1, b"second")]
            assert (await journal.links())[-1].stored_seq == 7
            assert (await journal.sessions())[-1].session_id == f"s{number}"


async def check_callbacks_run_in_order(open_journal: Open) -> None:
    """``stored`` runs in the order of the calls, once each."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)))
        ran: list[int] = []
        for offset in range(500):
            write = Write(lambda offset=offset: ran.append(offset))  # type: ignore[misc]  # default binds
            write.entry(1, offset, b"x" * (offset % 97))
            journal.write(write)
        await journal.flush()
        assert ran == list(range(500))


async def check_a_failing_callback_harms_no_other(open_journal: Open) -> None:
    """An exception in ``stored`` is the caller's; the callbacks after it run."""
    async with opened(open_journal) as journal:
        ran: list[str] = []

        def fail() -> None:
            raise ValueError("in a callback")

        journal.write(Write(fail))
        journal.write(Write(lambda: ran.append("after")))
        await journal.flush()
        assert ran == ["after"]


async def check_wrong_offsets_are_refused_at_the_call(open_journal: Open) -> None:
    """An entry with another offset than the next raises, and nothing of its write is queued."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b"0"])
        for wrong in (0, 1, 3, -1):
            write = Write()
            write.entry(1, 1, b"1")
            write.entry(1, wrong, b"wrong")
            write.request(RequestRow(request_id="r", answer=b"", at=1))
            refuses(LocalProtocolError, lambda write=write: journal.write(write))  # type: ignore[misc]
        unknown = Write()
        unknown.entry(9, 0, b"")
        refuses(LocalProtocolError, lambda: journal.write(unknown))
        refuses(LocalProtocolError, lambda: journal.next_offset(9))
        assert journal.next_offset(1) == 1
        await entries(journal, 1, [b"1"])
        assert await everything(journal, 1) == [(0, b"0"), (1, b"1")]
        assert await journal.request("r") is None


async def check_what_no_journal_can_store_is_refused_at_the_call(open_journal: Open) -> None:
    """Numbers over 64 bits, text without UTF-8, ids that are taken: never queued, so never tried for ever."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)))
        rows = (
            replace(link(1), generation=1 << 64),
            replace(link(1), boot="\ud800"),
            replace(session(1), session_no=2),
            replace(session(2), session_no=0),
            replace(session(1), session_id="other"),
        )
        for row in rows:
            refuses(LocalProtocolError, lambda row=row: journal.write(_with(row)))  # type: ignore[misc]
        mark = Write()
        mark.mark(1, 1 << 64)
        refuses(LocalProtocolError, lambda: journal.write(mark))
        await journal.flush()
        assert await journal.links() == []
        assert [row.session_id for row in await journal.sessions()] == ["s1"]


async def check_a_large_write_is_one_write(open_journal: Open) -> None:
    """A write with thousands of entries and megabytes is stored whole."""
    async with opened(open_journal) as journal:
        write = Write()
        write.session(session(1))
        for offset in range(3000):
            write.entry(1, offset, b"%d" % offset * 100)
        write.mark(1, 1)
        await stored(journal, write)
        assert await everything(journal, 1) == [(offset, b"%d" % offset * 100) for offset in range(3000)]


async def check_queued_bytes_are_counted(open_journal: Open) -> None:
    """``queued_bytes`` counts at least the payloads, and is zero when all is stored."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)))
        for offset in range(50):
            write = Write()
            write.entry(1, offset, bytes(10_000))
            journal.write(write)
        assert journal.queued_bytes >= 500_000
        await journal.flush()
        assert journal.queued_bytes == 0


async def check_an_urgent_write_overtakes(open_journal: Open) -> None:
    """What shares nothing with the queue goes before it; what shares something keeps its order."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)), _with(session(2)))
        ran: list[str] = []

        def put(name: str, *, urgent: bool = False, entry: tuple[int, int] | None = None) -> None:
            write = Write(lambda: ran.append(name))
            if entry is None:
                write.request(RequestRow(request_id=name, answer=b"yes", at=1))
            else:
                write.entry(*entry, bytes(64 << 10))
            journal.write(write, urgent=urgent)

        for offset in range(400):
            put(f"one {offset}", entry=(1, offset))
        put("two 0", entry=(2, 0))
        put("cancel", urgent=True)
        put("two 1", urgent=True, entry=(2, 1))
        await journal.flush()
        assert ran.index("cancel") < ran.index("one 399")
        assert ran.index("two 0") < ran.index("two 1") < ran.index("one 399")
        assert [name for name in ran if name.startswith("one")] == [f"one {offset}" for offset in range(400)]


async def check_urgent_writes_keep_the_order_of_links(open_journal: Open) -> None:
    """A mark never precedes the entries of an earlier batch of its link, whatever is urgent."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)), _with(session(2)))
        ran: list[int] = []
        for seq in range(1, 201):
            write = Write(lambda seq=seq: ran.append(seq))  # type: ignore[misc]  # default binds
            number = 1 + seq % 2
            write.entry(number, journal.next_offset(number), bytes(30_000))
            write.mark(1, seq)
            journal.write(write, urgent=seq % 50 == 0)
        await journal.flush()
        assert ran == list(range(1, 201))


# ---------------------------------------------------------------------- entries


async def check_payloads_come_back_byte_for_byte(open_journal: Open) -> None:
    """Any bytes: none, zeros, not UTF-8, long."""
    payloads = [
        b"",
        b"\0",
        b"a\0b",
        b"\xff\xfe\x80",
        b"\n",
        "\N{SNOWMAN}".encode(),
        bytes(range(256)) * 5000,
        b"",
        b"end",
    ]
    async with opened(open_journal) as journal:
        await entries(journal, 1, payloads)
        assert await everything(journal, 1) == list(enumerate(payloads))
        for offset, payload in enumerate(payloads):
            assert await journal.entry(1, offset) == payload
        await raises(Unavailable, journal.entry(1, len(payloads)))
        await raises(Unavailable, journal.entry(2, 0))


async def check_pages_are_cut_by_bytes(open_journal: Open) -> None:
    """A page holds what fits, at least one entry; pages follow each other without gap or overlap."""
    payloads = [bytes([n % 256]) * (n * 37 % 900) for n in range(300)]
    async with opened(open_journal) as journal:
        await entries(journal, 1, payloads)
        await entries(journal, 2, [b"other"])
        for limit in (1, 500, 899, 4096, 1 << 20):
            assert await everything(journal, 1, limit) == list(enumerate(payloads))
        for offset, limit in itertools.product((0, 17, 299), (0, 1, 1000, 5000)):
            page = await journal.page(1, offset, limit)
            size = sum(len(payload) for _, payload in page)
            assert page == list(enumerate(payloads))[offset : offset + len(page)]
            assert len(page) == 1 or size <= limit
            following = payloads[offset + len(page) : offset + len(page) + 1]
            assert not following or size + len(following[0]) > limit
        assert await journal.page(1, 300) == []
        assert await journal.page(3, 0) == []


async def check_entries_stored_one_by_one_are_counted(open_journal: Open) -> None:
    """Figures and pages don't depend on how entries came to be stored: alone, together, before a reopening."""
    for part in range(2):
        async with opened(open_journal) as journal:
            for _ in range(3):
                await entries(journal, 1, [b"12345"])
            await entries(journal, 1, [b"12345", b"12345"])
            assert [(row.rows, row.bytes) for row in await journal.sessions()] == [(5 * part + 5, 25 * part + 25)]
            assert [len(await journal.page(1, 1, limit)) for limit in (4, 5, 9, 10, 19)] == [1, 1, 1, 2, 3]


async def check_pages_read_beside_writes(open_journal: Open) -> None:
    """A reader that follows a writer sees each entry once and in order."""
    async with opened(open_journal) as journal:
        await stored(journal, _with(session(1)))
        seen: list[tuple[int, bytes]] = []

        async def follow() -> None:
            while len(seen) < 1000:
                seen.extend(await journal.page(1, len(seen), 4096))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            for offset in range(1000):
                write = Write()
                write.entry(1, offset, b"%d" % offset)
                journal.write(write)
                if offset % 10 == 0:
                    await asyncio.sleep(0)
        assert seen == [(offset, b"%d" % offset) for offset in range(1000)]


# ---------------------------------------------------------------------- rows


async def check_sessions(open_journal: Open) -> None:
    """Rows are replaced, filtered by state, and carry the figures that the journal keeps."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b"12345", b"678"])
        await entries(journal, 2, [])
        ended = replace(session(1, "failed"), finished_at=9, error="it broke", rows=99, bytes=99)
        await stored(journal, _with(ended))
        assert await journal.sessions() == [replace(ended, rows=2, bytes=8), session(2)]
        assert await journal.sessions("running") == [session(2)]
        assert await journal.sessions("lost") == []
        assert await journal.session("s1") == replace(ended, rows=2, bytes=8)
        assert await journal.session("s3") is None


async def check_sessions_are_found_by_what_they_are(open_journal: Open) -> None:
    """The newest first, by state, prefix and place; those that may be pruned the oldest first; counts of the rest."""
    async with opened(open_journal) as journal:
        for number, state, created_at, finished_at in (
            (1, "done", 50, 60),
            (2, "done", 40, 90),
            (3, "running", 45, None),
            (4, "failed", 40, 41),
            (5, "done", 70, None),
        ):
            row = replace(session(number, state), created_at=created_at, finished_at=finished_at)
            write = _with(row)
            write.entry(number, 0, b"x" * number)
            await stored(journal, write)
        await _body(journal, BodyKey("link", 1), b"body", 4)

        async def found(**how: Any) -> list[int]:
            rows = await journal.newest_sessions(**{"limit": 10, **how})
            assert all((row.rows, row.bytes) == (1, row.session_no + 4 * (row.session_no == 4)) for row in rows)
            return [row.session_no for row in rows]

        assert await found() == [5, 1, 3, 4, 2]
        assert await found(limit=2) == [5, 1]
        assert await found(limit=0) == []
        assert await found(state="done") == [5, 1, 2]
        assert await found(before=(45, "s3")) == [4, 2]
        assert await found(before=(40, "s4"), limit=1) == [2]
        assert await found(prefix="s4") == [4]
        assert await found(prefix="s", state="failed") == [4]
        assert await found(prefix="t") == []

        async def may_go(**how: Any) -> list[tuple[int, int, str, str]]:
            return await journal.prunable(**{"until": None, "keep": 0, "after": (0, 0), "limit": 10, **how})

        oldest = [(40, 2, "s2", "done"), (40, 4, "s4", "failed"), (50, 1, "s1", "done"), (70, 5, "s5", "done")]
        assert await may_go() == oldest
        assert await may_go(limit=1) == oldest[:1]
        assert await may_go(after=(40, 2), limit=2) == oldest[1:3]
        assert await may_go(keep=2) == oldest[:2]
        assert await may_go(keep=9) == []
        assert [row[1] for row in await may_go(until=69)] == [4, 1]
        assert await journal.totals() == {"done": (3, 1 + 2 + 5), "failed": (1, 4 + 4)}
        await journal.prune(4)
        assert await journal.totals() == {"done": (3, 8)}
        assert await found() == [5, 1, 3, 2]


async def check_nothing_is_written_to_a_session_that_is_over(open_journal: Open) -> None:
    """What was written stays; its numbers aren't used again, and it can be pruned; so it is after a reopening."""
    async with opened(open_journal) as journal:
        for number in (1, 2):
            await entries(journal, number, [b"123", b"45"])
        await stored(journal, _with(session(1, "done")))
        journal.retire(1)
        journal.retire(1)
        more = Write()
        more.entry(1, 2, b"")
        words = str(refuses(LocalProtocolError, lambda: journal.write(more)))
        assert words == "nothing is written any more to session number 1 in the journal"
        refuses(LocalProtocolError, lambda: journal.retire(9))
        refuses(LocalProtocolError, lambda: journal.write(_with(replace(session(1), session_id="other"))))
        assert journal.next_offset(2) == 2
        assert await journal.session("s1") == replace(session(1, "done"), rows=2, bytes=5)
    async with opened(open_journal) as journal:
        refuses(LocalProtocolError, lambda: journal.next_offset(1))
        assert journal.next_offset(2) == 2
        assert journal.new_session_no() == 3
        assert await journal.prune(1) == 5
        await raises(LocalProtocolError, journal.prune(1))
        refuses(LocalProtocolError, lambda: journal.retire(1))


async def check_links(open_journal: Open) -> None:
    """Marks only go up; a link under a new number begins anew; a dropped link is gone."""
    async with opened(open_journal) as journal:
        for seq in (5, 3, 4):
            write = _with(link(1))
            write.mark(1, seq)
            await stored(journal, write)
        await stored(journal, _with(replace(link(1), generation=2, stored_seq=77)), _with(link(2, "other")))
        assert await journal.links() == [replace(link(1), generation=2, stored_seq=5), link(2, "other")]
        anew = _with(link(3))
        anew.mark(3, 1)
        drop = Write()
        drop.drop_link(2)
        await stored(journal, anew, drop)
        assert await journal.links() == [replace(link(3), stored_seq=1)]


async def check_requests(open_journal: Open) -> None:
    """The first answer stays until it is dropped."""
    async with opened(open_journal) as journal:
        first = RequestRow(request_id="a", answer=b"one", at=10)
        await stored(
            journal,
            _with(first),
            _with(replace(first, answer=b"two", at=11)),
            _with(replace(first, request_id="b", at=20)),
        )
        assert await journal.request("a") == first
        drop = Write()
        drop.drop_requests(20)
        await stored(journal, drop)
        assert await journal.request("a") is None
        assert await journal.request("b") is not None


async def check_snapshots(open_journal: Open) -> None:
    """The snapshot with the highest offset stays."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b""] * 9)
        assert await journal.snapshot(1) is None
        for offset in (3, 8, 5):
            await stored(journal, _with(Snapshot(session_no=1, offset=offset, payload=b"\0%d" % offset)))
        assert await journal.snapshot(1) == Snapshot(session_no=1, offset=8, payload=b"\x008")


async def check_prune(open_journal: Open) -> None:
    """A pruned session is gone with all that is its own; the others stay; further writes to it are refused."""
    async with opened(open_journal) as journal:
        for number in (1, 2):
            await entries(journal, number, [b"x" * 50_000] * 40)
            await stored(
                journal,
                _with(Snapshot(session_no=number, offset=1, payload=b"s")),
                _with(RequestRow(request_id=f"r{number}", answer=b"", at=1, session_no=number)),
            )
            await _body(journal, BodyKey("link", number), b"body" * 1000, number)
        assert await journal.prune(1) == 40 * 50_000 + 4000
        assert [row.session_id for row in await journal.sessions()] == ["s2"]
        assert await journal.page(1, 0) == []
        assert await journal.snapshot(1) is None
        assert await journal.request("r1") is None
        assert await journal.body_rows(1) == []
        await raises(Unavailable, journal.bodies.read(BodyKey("link", 1), 0, 1))
        late = Write()
        late.entry(1, 40, b"")
        refuses(LocalProtocolError, lambda: journal.write(late))
        await raises(LocalProtocolError, journal.prune(1))
        assert await everything(journal, 2) == [(offset, b"x" * 50_000) for offset in range(40)]
        assert await journal.snapshot(2) is not None
        assert await journal.request("r2") is not None
        assert await journal.bodies.read(BodyKey("link", 2), 0, 4) == b"body"


async def check_prune_follows_what_is_queued(open_journal: Open) -> None:
    """Entries written before the prune are stored, then deleted with the rest."""
    async with opened(open_journal) as journal:
        ran: list[str] = []
        write = Write(lambda: ran.append("stored"))
        write.session(session(1))
        write.entry(1, 0, b"123")
        journal.write(write)
        assert await journal.prune(1) == 3
        assert ran == ["stored"]
        assert await journal.page(1, 0) == []


async def check_numbers_are_never_used_again(open_journal: Open) -> None:
    """Neither within an opening, nor after a prune and a reopening."""
    async with opened(open_journal) as journal:
        numbers = [journal.new_session_no() for _ in range(3)]
        assert numbers == sorted(set(numbers))
        for number in numbers:
            await entries(journal, number, [b"x"])
        await stored(journal, _with(link(journal.new_link_no(), "a")), _with(link(journal.new_link_no(), "b")))
        last_link = (await journal.links())[-1].link_no
        drop = Write()
        drop.drop_link(last_link)
        await stored(journal, drop)
        await journal.prune(numbers[-1])
    async with opened(open_journal) as journal:
        assert journal.new_session_no() > numbers[-1]
        assert journal.new_link_no() > last_link
        old = replace(session(numbers[-1]), session_id="new")
        refuses(LocalProtocolError, lambda: journal.write(_with(old)))


async def check_an_id_is_free_after_a_prune(open_journal: Open) -> None:
    """A session may begin under the id of one that is being deleted, with another number."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [bytes(50_000)] * 50)
        pruning = asyncio.ensure_future(journal.prune(1))
        await asyncio.sleep(0)
        refuses(LocalProtocolError, lambda: journal.write(_with(session(1))))
        again = _with(replace(session(2), session_id="s1"))
        again.entry(2, 0, b"new")
        journal.write(again, urgent=True)
        await pruning
        await journal.flush()
        assert [(row.session_no, row.session_id, row.rows) for row in await journal.sessions()] == [(2, "s1", 1)]
        assert (await journal.session("s1")) == (await journal.sessions())[0]


# ---------------------------------------------------------------------- bodies


async def check_bodies_come_in_chunks(open_journal: Open) -> None:
    """Chunks append; what is stored already is skipped; a gap is refused and changes nothing."""
    data = bytes(range(256)) * 1000
    key = BodyKey("link-1", 7)
    async with opened(open_journal) as journal:
        bodies = journal.bodies
        assert await bodies.write(key, 0, data[:1000]) == 1000
        assert await bodies.write(key, 0, data[:400]) == 1000
        assert await bodies.write(key, 500, memoryview(data)[500:3000]) == 3000
        await raises(RemoteProtocolError, bodies.write(key, 3001, data[3001:4000]))
        assert bodies.under_way("link-1") == {7: 3000}
        assert bodies.under_way("link-2") == {}
        for offset in range(3000, len(data), 50_000):
            dropped = bodies.write(key, offset, data[offset : offset + 50_000])
            del dropped
        await bodies.finish(key, len(data), sum_of(data))
        await bodies.finish(key, len(data), sum_of(data))
        assert await bodies.read(key, 0, 1 << 20) == data
        assert await bodies.read(key, 100, 50) == data[100:150]
        assert await bodies.read(key, len(data), 10) == b""
        assert bodies.queued_bytes == 0
        await raises(Unavailable, bodies.read(BodyKey("link-1", 8), 0, 1))


async def check_wrong_bodies_are_refused(open_journal: Open) -> None:
    """Another length or sum than the record's: refused and deleted, and the sender may begin anew."""
    async with opened(open_journal) as journal:
        bodies = journal.bodies
        await raises(RemoteProtocolError, bodies.finish(BodyKey("a", 1), 5, sum_of(b"12345")))
        for n, (length, data) in enumerate([(4, b"12345"), (6, b"12345"), (5, b"54321")]):
            await bodies.write(BodyKey("a", n), 0, b"12345")
            await raises(RemoteProtocolError, bodies.finish(BodyKey("a", n), length, sum_of(data)))
        assert bodies.under_way("a") == {}
        await bodies.write(BodyKey("a", 1), 0, b"right")
        await bodies.finish(BodyKey("a", 1), 5, sum_of(b"right"))
        await bodies.finish(BodyKey("a", 9), 0, sum_of(b""))
        assert await bodies.read(BodyKey("a", 9), 0, 1) == b""


async def check_body_names_are_names(open_journal: Open) -> None:
    """A link id from outside can't lead out of the directory."""
    async with opened(open_journal) as journal:
        for link_id in ("", ".", "..", "../x", "a/b", "-x", "a\0", "\N{SNOWMAN}", "x" * 101):
            refuses(RemoteProtocolError, lambda name=link_id: journal.bodies.write(BodyKey(name, 1), 0, b""))  # type: ignore[misc]
        refuses(RemoteProtocolError, lambda: journal.bodies.write(BodyKey("a", -1), 0, b""))


async def check_referenced_bodies_stay(open_journal: Open) -> None:
    """When a link is over only what no entry names goes; bodies count for their session."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b"12"])
        await _body(journal, BodyKey("a", 1), b"named", 1)
        await journal.bodies.write(BodyKey("a", 2), 0, b"under way")
        await journal.bodies.write(BodyKey("b", 1), 0, b"other link")
        assert journal.bodies.under_way("a") == {2: 9}
        assert await journal.bodies.delete_unreferenced("a") == 9
        assert journal.bodies.under_way("a") == {}
        assert await journal.bodies.read(BodyKey("a", 1), 0, 9) == b"named"
        assert await journal.bodies.read(BodyKey("b", 1), 0, 99) == b"other link"
        await raises(Unavailable, journal.bodies.read(BodyKey("a", 2), 0, 9))
        expected = BodyRow(session_no=1, link_id="a", n=1, length=5, sha256=sum_of(b"named"))
        assert await journal.body_rows(1) == [expected]
        assert (await journal.sessions())[0].bytes == 7


async def check_bodies_can_be_discarded(open_journal: Open) -> None:
    """One that nothing will name goes, whole or not; a named one stays, also when it was sent again."""
    async with opened(open_journal) as journal:
        bodies = journal.bodies
        await entries(journal, 1, [b"12"])
        await _body(journal, BodyKey("a", 1), b"named", 1)
        for n in (2, 3):
            await bodies.write(BodyKey("a", n), 0, b"under way")
        await bodies.finish(BodyKey("a", 3), 9, sum_of(b"under way"))
        await bodies.write(BodyKey("a", 1), 0, b"named")
        for n, size in ((1, 0), (2, 9), (3, 9), (4, 0)):
            assert await bodies.discard(BodyKey("a", n)) == size
        assert bodies.under_way("a") == {}
        assert await bodies.read(BodyKey("a", 1), 0, 9) == b"named"
        for n in (2, 3):
            await raises(Unavailable, bodies.read(BodyKey("a", n), 0, 9))
        await bodies.write(BodyKey("a", 2), 0, b"anew")
        await bodies.finish(BodyKey("a", 2), 4, sum_of(b"anew"))
        await raises(RemoteProtocolError, bodies.discard(BodyKey("..", 1)))


async def check_dropped_bodies_are_under_way_again(open_journal: Open) -> None:
    """One that its session needs no more is nobody's, counts for nothing, and can be discarded, after a crash, too."""
    async with opened(open_journal) as journal:
        for number in (1, 2):
            await entries(journal, number, [b"12"])
        for n in (1, 2, 3):
            await _body(journal, BodyKey("a", n), b"named", 1)
        for number, n in ((1, 1), (1, 2), (2, 3), (1, 4)):
            write = Write()
            write.drop_body(DropBody(session_no=number, link_id="a", n=n, length=5))
            await stored(journal, write)
        assert [row.n for row in await journal.body_rows(1)] == [3]
        assert (await journal.sessions())[0].bytes == 2 + 5
        assert await journal.bodies.session_of(BodyKey("a", 1)) is None
        assert await journal.bodies.discard(BodyKey("a", 1)) == 5
        await raises(Unavailable, journal.bodies.read(BodyKey("a", 1), 0, 5))
        assert await journal.bodies.discard(BodyKey("a", 3)) == 0
    async with opened(open_journal) as journal:
        assert journal.bodies.under_way("a") == {2: 5}
        assert await journal.bodies.discard(BodyKey("a", 2)) == 5
        assert await journal.bodies.read(BodyKey("a", 3), 0, 5) == b"named"


async def check_bodies_of_nobody_go(open_journal: Open) -> None:
    """After an opening what is under way of unknown links can go at once; their names are free again."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b"12"])
        await _body(journal, BodyKey("gone", 1), b"named", 1)
        for link_id, n in (("known", 1), ("gone", 2), ("gone", 3), ("other", 1)):
            await journal.bodies.write(BodyKey(link_id, n), 0, b"under way")
    async with opened(open_journal) as journal:
        bodies = journal.bodies
        bodies.keep_only({"known"})
        assert [bodies.under_way(link_id) for link_id in ("known", "gone", "other")] == [{1: 9}, {}, {}]
        assert await bodies.write(BodyKey("gone", 2), 0, b"anew") == 4
        bodies.keep_only({"known", "gone"})
        assert await bodies.read(BodyKey("gone", 1), 0, 9) == b"named"
        assert await bodies.read(BodyKey("gone", 2), 0, 9) == b"anew"
        for key in (BodyKey("gone", 3), BodyKey("other", 1)):
            await raises(Unavailable, bodies.read(key, 0, 9))
    async with opened(open_journal) as journal:
        assert [journal.bodies.under_way(link_id) for link_id in ("known", "gone", "other")] == [{1: 9}, {2: 4}, {}]


# ---------------------------------------------------------------------- opening and closing


async def check_everything_is_there_after_reopening(open_journal: Open) -> None:
    """Closed and opened again: the same epoch, the same content, the next offsets, bodies under way."""
    async with opened(open_journal) as journal:
        epoch = journal.epoch
        assert journal.opening.created
        await entries(journal, 1, [b"0", b"1"])
        write = _with(link(1))
        write.mark(1, 5)
        write.request(RequestRow(request_id="r", answer=b"a", at=1))
        write.snapshot(Snapshot(session_no=1, offset=1, payload=b"s"))
        await stored(journal, write)
        await _body(journal, BodyKey("link", 1), b"named", 1)
        await journal.bodies.write(BodyKey("link", 2), 0, b"under")
        before = (
            await journal.sessions(),
            await journal.links(),
            await journal.request("r"),
            await journal.snapshot(1),
        )
    async with opened(open_journal) as journal:
        assert (journal.epoch, journal.opening.changed) == (epoch, None)
        assert not journal.opening.created
        assert journal.opening.clean
        assert await everything(journal, 1) == [(0, b"0"), (1, b"1")]
        after = (await journal.sessions(), await journal.links(), await journal.request("r"), await journal.snapshot(1))
        assert after == before
        assert journal.next_offset(1) == 2
        assert journal.bodies.under_way("link") == {2: 5}
        await journal.bodies.write(BodyKey("link", 2), 5, b" way")
        await journal.bodies.finish(BodyKey("link", 2), 9, sum_of(b"under way"))
        assert await journal.bodies.read(BodyKey("link", 1), 0, 9) == b"named"
        await entries(journal, 1, [b"2"])
        assert (await journal.sessions())[0].bytes == 3 + 5


async def check_closing_stores_what_is_queued(open_journal: Open) -> None:
    """``close`` returns after the last ``stored``; what comes later is refused."""
    journal = await open_journal()
    ran: list[int] = []
    for number in range(1, 300):
        write = Write(lambda number=number: ran.append(number))  # type: ignore[misc]  # default binds
        write.session(session(number))
        write.entry(number, 0, bytes(10_000))
        journal.write(write)
    await asyncio.gather(journal.close(), journal.close())
    await journal.close()
    assert ran == list(range(1, 300))
    refuses(Closed, lambda: journal.write(Write()))
    refuses(Closed, lambda: journal.bodies.write(BodyKey("a", 1), 0, b""))
    await raises(Closed, journal.flush())
    await raises(Closed, journal.page(1, 0))
    await raises(Closed, journal.bodies.finish(BodyKey("a", 1), 0, ""))
    async with opened(open_journal) as journal:
        assert len(await journal.sessions()) == 299


async def check_stats(open_journal: Open) -> None:
    """The figures are those of the journal."""
    async with opened(open_journal) as journal:
        await entries(journal, 1, [b"x"])
        stats = await journal.stats()
        assert (stats.epoch, stats.queued_bytes, stats.trouble) == (journal.epoch, 0, None)
        assert stats.commits > 0


def _with(row: SessionRow | LinkRow | RequestRow | Snapshot | BodyRow) -> Write:
    write = Write()
    match row:
        case SessionRow():
            write.session(row)
        case LinkRow():
            write.link(row)
        case RequestRow():
            write.request(row)
        case Snapshot():
            write.snapshot(row)
        case BodyRow():
            write.body(row)
    return write


async def _body(journal: Journal, key: BodyKey, data: bytes, session_no: int) -> None:
    await journal.bodies.write(key, 0, data)
    await journal.bodies.finish(key, len(data), sum_of(data))
    row = BodyRow(session_no=session_no, link_id=key.link_id, n=key.n, length=len(data), sha256=sum_of(data))
    await stored(journal, _with(row))


CHECKS: dict[str, Check] = {name: check for name, check in list(globals().items()) if name.startswith("check_")}
"""All of them, by name."""
