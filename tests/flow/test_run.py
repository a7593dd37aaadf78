"""The pure machine: tables of flows, and properties over any order of events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.flow.plan import InputPlan, NodePlan, Plan, Source
from asyncblock.flow.run import (
    Cancelled,
    ConditionDecided,
    Decision,
    Fact,
    Finished,
    JobCreated,
    Output,
    Run,
    RunFinished,
    Started,
    decision_from_json,
)

Inputs = Mapping[str, Any]


def node(node_id: str, *, concurrency: int = 1, kind: str = "task", **inputs: Any) -> NodePlan:
    made = {}
    for handle, given_ in inputs.items():
        if isinstance(given_, str):
            given_ = [given_]
        if isinstance(given_, list):
            sources = tuple(Source(name or None, out) for name, _, out in (each.partition(".") for each in given_))
            made[handle] = InputPlan(sources)
        else:
            made[handle] = InputPlan((), True, given_)
    return NodePlan(node_id, kind, {"language": "python"}, made, concurrency)


def plan(*nodes: NodePlan, outputs: Mapping[str, str] | None = None, inputs: tuple[str, ...] = ()) -> Plan:
    targets = {}
    for handle, source in (outputs or {}).items():
        name, _, out = source.partition(".")
        targets[handle] = (Source(name, out),)
    return Plan("test", None, nodes, tuple({"handle": name} for name in inputs), targets)


def jobs(decisions: list[Decision]) -> list[tuple[str, dict[str, Any]]]:
    return [(d.node_id, d.inputs) for d in decisions if isinstance(d, JobCreated)]


def ids(decisions: list[Decision]) -> list[str]:
    return [d.job_id for d in decisions if isinstance(d, JobCreated)]


def test_nodes_that_nothing_feeds_run_once_at_the_start() -> None:
    run = Run(plan(node("a"), node("b", k=5)), "s")
    assert jobs(run.feed(Started())) == [("a", {}), ("b", {"k": ["static", "b", "k"]})]
    assert jobs(run.feed(Finished("s.0"))) == []


def test_inputs_are_paired_first_in_first_out_and_not_latched() -> None:
    run = Run(plan(node("a"), node("b"), node("sum", concurrency=9, x="a.o", y="b.o")), "s")
    run.feed(Started())
    assert jobs(run.feed(Output("s.0", "o", "x1"))) == []
    assert jobs(run.feed(Output("s.0", "o", "x2"))) == []
    assert jobs(run.feed(Output("s.1", "o", "y1"))) == [("sum", {"x": "x1", "y": "y1"})]
    assert jobs(run.feed(Output("s.1", "o", "y2"))) == [("sum", {"x": "x2", "y": "y2"})]
    assert jobs(run.feed(Output("s.1", "o", "y3"))) == []


def test_static_values_are_the_same_each_time() -> None:
    run = Run(plan(node("a"), node("b", concurrency=-1, x="a.o", k=1)), "s")
    run.feed(Started())
    made = run.feed(Output("s.0", "o", 1)) + run.feed(Output("s.0", "o", 2))
    assert [inputs["k"] for _, inputs in jobs(made)] == [["static", "b", "k"]] * 2


@pytest.mark.parametrize(("concurrency", "at_once"), [(1, 1), (3, 3), (-1, 5), (0, 1)])
def test_concurrency_bounds_the_jobs_of_a_node(concurrency: int, at_once: int) -> None:
    run = Run(plan(node("a"), node("b", concurrency=concurrency, x="a.o")), "s")
    run.feed(Started())
    made = [each for i in range(5) for each in run.feed(Output("s.0", "o", i))]
    assert len(made) == at_once
    after = run.feed(Finished(ids(made)[0]))
    assert len(ids(after)) == (1 if concurrency in (1, 3) else 0)


def test_several_sources_merge_into_one_queue() -> None:
    run = Run(plan(node("a"), node("b"), node("c", concurrency=9, x=["a.o", "b.o"])), "s")
    run.feed(Started())
    made = run.feed(Output("s.1", "o", "from b")) + run.feed(Output("s.0", "o", "from a"))
    assert [inputs["x"] for _, inputs in jobs(made)] == ["from b", "from a"]


def test_flow_inputs_feed_their_handles() -> None:
    run = Run(plan(node("a", x=".path"), inputs=("path",)), "s")
    assert jobs(run.feed(Started())) == [("a", {"x": ["input", "path"]})]


def test_the_result_of_a_finish_is_produced_like_outputs() -> None:
    run = Run(plan(node("a"), node("b", x="a.o"), outputs={"end": "b.p"}), "s")
    run.feed(Started())
    assert jobs(run.feed(Finished("s.0", None, {"o": 1}))) == [("b", {"x": 1})]
    assert run.feed(Finished("s.1", None, {"p": 2})) == [RunFinished("succeeded", None, {"end": 2})]


def test_a_run_is_over_when_no_job_is_left_whatever_waits() -> None:
    run = Run(plan(node("a"), node("b"), node("c", x="a.o", y="b.o")), "s")
    run.feed(Started())
    run.feed(Output("s.0", "o", 1))
    run.feed(Finished("s.0"))
    assert run.feed(Finished("s.1")) == [RunFinished("succeeded", None, {})]
    assert run.finished
    assert run.feed(Finished("s.1")) == []


def test_a_cycle_feeds_itself() -> None:
    run = Run(plan(node("seed"), node("loop", x=["seed.o", "loop.o"])), "s")
    run.feed(Started())
    assert len(ids(run.feed(Finished("s.0", None, {"o": 0})))) == 1
    for i in range(1, 5):
        assert ids(run.feed(Finished(f"s.{i}", None, {"o": i}))) == [f"s.{i + 1}"]
    assert run.feed(Finished("s.5")) == [RunFinished("succeeded", None, {})]


def test_an_error_ends_the_run_at_once_and_late_facts_change_nothing() -> None:
    run = Run(plan(node("a"), node("b"), outputs={"out": "b.o"}), "s")
    run.feed(Started())
    assert run.feed(Finished("s.0", "broken")) == [RunFinished("failed", "node a: broken", {})]
    assert run.feed(Output("s.1", "o", 1)) == []
    assert run.feed(Finished("s.1")) == []


def test_a_cancel_ends_the_run() -> None:
    run = Run(plan(node("a")), "s")
    run.feed(Started())
    assert run.feed(Cancelled("enough")) == [RunFinished("cancelled", "cancelled: enough", {})]


def test_facts_about_unknown_jobs_change_nothing() -> None:
    run = Run(plan(node("a"), node("b", x="a.o")), "s")
    run.feed(Started())
    assert run.feed(Output("s.99", "o", 1)) == []
    assert run.feed(Finished("s.99", "broken")) == []


def test_e2_a_condition_without_match_frees_its_node() -> None:
    """Upstream, a condition for which no case holds never leaves its node, which then never runs again."""
    run = Run(plan(node("a"), node("if", kind="condition", x="a.o"), node("b", y="if.yes")), "s")
    run.feed(Started())
    made = run.feed(Output("s.0", "o", "v1"))
    run.feed(Output("s.0", "o", "v2"))
    after = run.feed(ConditionDecided(ids(made)[0], None))
    assert jobs(after) == [("if", {"x": "v2"})]
    assert jobs(run.feed(ConditionDecided(ids(after)[0], "yes", "v2"))) == [("b", {"y": "v2"})]


def test_directed_output_takes_only_the_connections_that_are_meant() -> None:
    nodes = (node("a"), node("b", x="a.o"), node("c", x="a.o"))
    run = Run(plan(*nodes, outputs={"out": "a.o"}), "s")
    run.feed(Started())
    made = run.feed(Output("s.0", "o", 1, [{"node_id": "c", "input_handle": "x"}], None))
    assert jobs(made) == [("c", {"x": 1})]
    assert run.feed(Output("s.0", "o", 2, None, [{"output_handle": "out"}])) == []
    assert run.feed(Finished("s.1")) == []
    assert run.feed(Finished("s.0")) == [RunFinished("succeeded", None, {"out": 2})]


def test_consumers_tells_who_takes_a_handle() -> None:
    run = Run(plan(node("a"), node("b", x="a.o"), outputs={"out": "b.p"}), "s")
    run.feed(Started())
    assert run.consumers("s.0", "o")
    assert not run.consumers("s.0", "nobody")
    assert not run.consumers("s.9", "o")


def test_large_flows_and_long_queues_cost_time_in_proportion() -> None:
    chain = [node("n0")] + [node(f"n{i}", x=f"n{i - 1}.o") for i in range(1, 10_000)]
    run = Run(plan(*chain), "s")
    made = run.feed(Started())
    for i in range(10_000):
        made = run.feed(Finished(f"s.{i}", None, {"o": i}))
    assert made == [RunFinished("succeeded", None, {})]
    run = Run(plan(node("a"), node("b", x="a.o")), "s")
    run.feed(Started())
    for i in range(100_000):
        run.feed(Output("s.0", "o", i))
    for i in range(1, 100_000):
        assert len(run.feed(Finished(f"s.{i}"))) == 1


# ------------------------------------------------------------------ any order, any crash

FLOW = plan(
    node("a"),
    node("b"),
    node("double", concurrency=2, x="a.o"),
    node("pair", x="double.o", y="b.o"),
    node("sum", concurrency=-1, p="pair.o", q=["double.o", "b.o"]),
    outputs={"end": "sum.o"},
)


def behave(job: JobCreated) -> list[Any]:
    """What a job puts out: a function of its inputs only, so that the flow is deterministic."""
    if job.node_id in ("a", "b"):
        return [f"{job.node_id}{i}" for i in range(4)]
    return ["+".join(str(value) for value in job.inputs.values())]


def drive(run: Run, choose: Callable[[list[Fact]], int]) -> tuple[list[Fact | Decision], list[JobCreated]]:
    """Run a flow, delivering what jobs say in an order that somebody chooses; each job's own order is kept."""
    entries: list[Fact | Decision] = []
    created: list[JobCreated] = []
    queues: list[list[Fact]] = [[Started()]]
    while queues:
        heads = [queue[0] for queue in queues]
        queue = queues[choose(heads)]
        fact = queue.pop(0)
        if not queue:
            queues.remove(queue)
        decisions = run.feed(fact)
        entries += [fact, *decisions]
        for decision in decisions:
            if isinstance(decision, JobCreated):
                created.append(decision)
                facts: list[Fact] = [Output(decision.job_id, "o", value) for value in behave(decision)]
                queues.append([*facts, Finished(decision.job_id)])
    return entries, created


def shape(created: list[JobCreated]) -> Counter[str]:
    return Counter(job.node_id for job in created)


@given(st.randoms(use_true_random=False))
def test_any_order_of_events_makes_the_same_jobs(rng: random.Random) -> None:
    _, straight = drive(Run(FLOW, "s"), lambda heads: 0)
    entries, created = drive(Run(FLOW, "s"), lambda heads: rng.randrange(len(heads)))
    assert shape(created) == shape(straight)
    doubled = Counter(str(job.inputs) for job in created if job.node_id == "double")
    assert doubled == Counter(str(job.inputs) for job in straight if job.node_id == "double")
    assert isinstance(entries[-1], RunFinished)
    assert [type(entry) for entry in entries].count(RunFinished) == 1
    assert len({job.job_id for job in created}) == len(created)


@given(st.randoms(use_true_random=False), st.integers(0, 200))
def test_a_replayed_run_goes_on_as_the_live_one_did(rng: random.Random, at: int) -> None:
    entries, _ = drive(Run(FLOW, "s"), lambda heads: rng.randrange(len(heads)))
    # A crash comes between two turns of the mainframe: a fact and its decisions are one row.
    cut = min(at, len(entries))
    while cut < len(entries) and isinstance(entries[cut], Decision):
        cut += 1
    run = Run(FLOW, "s")
    for entry in entries[:cut]:
        run.replay(
            decision_from_json(orjson.loads(orjson.dumps(entry.to_json()))) if isinstance(entry, Decision) else entry
        )
    assert run.settle() == []
    rest = entries[cut:]
    for index, entry in enumerate(rest):
        if isinstance(entry, Fact):
            followed = []
            for later in rest[index + 1 :]:
                if isinstance(later, Fact):
                    break
                followed.append(later)
            assert run.feed(entry) == followed
    assert run.finished == (not rest or isinstance(entries[-1], RunFinished))
