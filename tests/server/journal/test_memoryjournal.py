"""The journal on SQLite against the one in memory: whatever is written, in whatever order, they hold the same."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncblock.errors import LocalProtocolError
from asyncblock.server.journal import Journal, RequestRow, Snapshot, SqliteJournal, Write
from asyncblock.server.journal.datadir import DataDir
from asyncblock.server.journal.memoryjournal import MemoryJournal, MemoryStorage
from asyncblock.testing.conformance.journal import everything, link, session

numbers = st.integers(min_value=1, max_value=3)
parts = st.one_of(
    st.tuples(st.just("entry"), numbers, st.binary(max_size=40)),
    st.tuples(st.just("entries"), numbers, st.integers(min_value=1, max_value=400)),
    st.tuples(st.just("mark"), numbers, st.integers(min_value=0, max_value=9)),
    st.tuples(st.just("session"), numbers, st.sampled_from(["running", "done"])),
    st.tuples(st.just("link"), numbers, st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("request"), numbers, st.integers(min_value=0, max_value=9)),
    st.tuples(st.just("snapshot"), numbers, st.integers(min_value=0, max_value=9)),
    st.tuples(st.just("drop_link"), numbers, st.none()),
    st.tuples(st.just("drop_requests"), numbers, st.none()),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(parts, min_size=1, max_size=4), st.booleans()),
        st.tuples(st.just("prune"), numbers, st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
        st.tuples(st.just("flush"), st.none(), st.none()),
    ),
    max_size=20,
)


def build(journal: Journal, parts: list[tuple[str, int, object]]) -> Write:
    write = Write()
    offsets: dict[int, int] = {}

    def entry(number: int, payload: bytes) -> None:
        try:
            offset = offsets.get(number, journal.next_offset(number))
        except LocalProtocolError:
            offset = offsets.get(number, 0)
        write.entry(number, offset, payload)
        offsets[number] = offset + 1

    for kind, number, value in parts:
        match kind, value:
            case "entry", bytes():
                entry(number, value)
            case "entries", int():
                for n in range(value):
                    entry(number, b"%d" % n)
            case "mark", int():
                write.mark(number, value)
            case "session", str():
                write.session(replace(session(number), state=value))
            case "link", str():
                write.link(link(number, value))
            case "request", int():
                write.request(RequestRow(request_id=str(number), answer=b"%d" % value, at=value))
            case "snapshot", int():
                write.snapshot(Snapshot(session_no=number, offset=value, payload=b"%d" % value))
            case "drop_link", _:
                write.drop_link(number)
            case _:
                write.drop_requests(number * 3)
    return write


async def contents(journal: Journal) -> list[object]:
    await journal.flush()
    return [
        await journal.sessions(),
        await journal.sessions("done"),
        await journal.links(),
        [await everything(journal, number) for number in (1, 2, 3)],
        [await journal.snapshot(number) for number in (1, 2, 3)],
        [await journal.request(str(number)) for number in (1, 2, 3)],
        journal.queued_bytes,
    ]


async def run(steps: list[tuple[str, object, object]], directory: Path) -> None:
    storage = MemoryStorage()
    with DataDir.open(directory) as place:
        real: Journal = await SqliteJournal.open(place)
        model: Journal = MemoryJournal(storage)
        for kind, what, urgent in steps:
            for journal in (real, model):
                try:
                    if kind == "write" and isinstance(what, list):
                        journal.write(build(journal, what), urgent=bool(urgent))
                    elif kind == "prune" and isinstance(what, int):
                        await journal.prune(what)
                    elif kind == "flush":
                        await journal.flush()
                    else:
                        await journal.close()
                except LocalProtocolError:
                    pass
            if kind == "reopen":
                real, model = await SqliteJournal.open(place), MemoryJournal(storage)
        assert await contents(real) == await contents(model)
        assert (real.new_session_no(), real.new_link_no()) == (model.new_session_no(), model.new_link_no())
        await real.close()
        await model.close()


@settings(max_examples=60, deadline=None)
@given(steps)
@example([("write", [("mark", 1, 1)], False), ("write", [("drop_link", 1, None), ("link", 1, "a")], False)])
def test_both_journals_hold_the_same(steps: list[tuple[str, object, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(steps, Path(directory)))
