"""Item 7: references of values that wait take memory by progressions, not by their number."""

from __future__ import annotations

import tracemalloc
from collections import deque
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from asyncblock.flow.entries import Finished, JobCreated, Output, SessionBegun
from asyncblock.flow.references import References
from asyncblock.flow.run import Run

from .plans import node, plan


def record(offset: int, index: int, handle: str = "out") -> tuple[Any, ...]:
    return ("record", offset, 0, index, handle)


def test_consecutive_references_take_one_entry() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        refs = References(record(7, index) for index in range(1_000_000))
        assert tracemalloc.get_traced_memory()[0] - before < 4096
    finally:
        tracemalloc.stop()
    assert (refs.entries, len(refs)) == (1, 1_000_000)
    assert refs.popleft() == record(7, 0)
    assert refs.head == record(7, 1)


def test_batches_take_an_entry_each_and_rows_of_one_record_one_together() -> None:
    assert References(record(row, index) for row in range(20) for index in range(500)).entries == 20
    assert References(record(row, 0) for row in range(3, 3000, 3)).entries == 1


refs = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 3), st.integers(0, 1), st.integers(0, 4), st.sampled_from(["a", "b"])),
    st.lists(st.one_of(st.integers(0, 2), st.booleans(), st.text(max_size=1)), max_size=3),
    st.text(max_size=2),
    st.none(),
)


@example([[0, 0, True], [0, 1, 1]])
@example([[0], [1], [2], [3.0], [True]])
@given(st.lists(st.one_of(refs, st.just("take"), st.just("store"))))
def test_what_comes_out_is_what_went_in(acts: list[Any]) -> None:
    queue, model = References(), deque[Any]()
    for act in acts:
        if act == "take":
            if model:
                assert plain(queue.head) == plain(model[0])
                assert plain(queue.popleft()) == plain(model.popleft())
        elif act == "store":
            queue = References.from_json(orjson.loads(orjson.dumps(queue.to_json())))
        else:
            queue.append(act)
            model.append(act)
        assert len(queue) == len(model)
        assert bool(queue) == bool(model)
        assert [plain(ref) for ref in queue] == [plain(ref) for ref in model]


def plain(ref: object) -> object:
    """Return a reference as JSON tells it; True is no 1."""
    return orjson.dumps(ref)


def test_a_fast_node_before_a_slow_one_costs_a_run_no_memory() -> None:
    run = Run(plan(node("fast"), node("slow", v="fast.out")), "s")
    run.feed(SessionBegun())
    run.feed(Output("s.0", "out", record(1, 0)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for row in range(2, 12):
            for index in range(1000):
                run.feed(Output("s.0", "out", record(row, index)))
        assert tracemalloc.get_traced_memory()[0] - before < 16 << 10
    finally:
        tracemalloc.stop()
    [created] = run.feed(Finished("s.1"))
    assert isinstance(created, JobCreated)
    assert created.inputs == {"v": record(2, 0)}
