"""What blocks need and executors offer: who gets which job, who waits, and what is said to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import typer

import asyncblock
from asyncblock import Context, Flow, events
from asyncblock.cli.offered import Offered
from asyncblock.errors import InvalidFlow, LocalProtocolError
from asyncblock.flow.load import load_flow
from asyncblock.resources import NOTHING, Resources, needs_of, needs_problem, offers_of
from asyncblock.server.settings import Settings

from .engine.blocks import OUT, plan_of
from .flows import end_of, handle_def, node, write_flow
from .peers import HASH, Host, Peer, mainframe
from .peers import node as bare_node
from .peers import plan as bare_plan
from .processes import Command, free_port, run, start
from .server.dispatching.test_dispatch import FINISHED, STARTED

pytestmark = pytest.mark.timeout(180)

POOL = "a pool that nobody can guess"


def executor(slots: int = 9, **more: Any) -> dict[str, Any]:
    return {"languages": ["python"], "packages": {HASH: "p"}, "slots": {"async": slots, "spawn": 4}, **more}


async def peer(host: Host, link: str, **more: Any) -> Peer:
    made = host.peer()
    assert (await made.hello(link, executor=executor(**more), secret=link * 20))["op"] == "welcome"
    return made


def needing(*names: str, needs: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return bare_plan(*(bare_node(name, block={"needs": needs}, **fields) for name in names))


async def begin(peer: Peer, session_id: str, plan: dict[str, Any]) -> None:
    reply = await peer.ask("start", session_id=session_id, plan=plan)
    assert reply["error"] is None, reply


async def has_none(peer: Peer) -> bool:
    """Tell whether no job has come to a peer: the answer to a question comes after whatever was sent before."""
    await peer.ask("info", id="settled")
    return not any(message["op"] == "dispatch" for message in peer.came)


# ---------------------------------------------------------------------- who gets which job


async def test_a_job_goes_to_the_executor_that_offers_what_it_needs(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        plain = await peer(host, "plain", slots=1000, offers={"memory": 1 << 40})
        labelled = await peer(host, "labelled", slots=1, offers={"gpu": 1}, labels=["fast-disk", "x"])
        await begin(plain, "s", needing("a", needs={"gpu": 1, "labels": ["fast-disk"]}))
        assert (await labelled.until("dispatch"))["node_id"] == "a"
        assert await has_none(plain)


async def test_no_more_jobs_run_than_there_are_resources_for_and_the_end_of_one_lets_the_next_in(
    tmp_path: Path,
) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 1})
        third = {"gpu": 1 / 3}
        await begin(x, "s", needing("a", "b", "c", "d", needs=third))
        jobs = [await x.until("dispatch") for _ in range(2)]
        # A third of something in thousandths, rounded up, is a little more than a third.
        assert await has_none(x)
        await x.batch(1, jobs[0]["channel"], STARTED, FINISHED)
        assert (await x.until("dispatch"))["node_id"] == "c"
        await x.batch(2, jobs[1]["channel"], STARTED, FINISHED)
        assert (await x.until("dispatch"))["node_id"] == "d"


async def test_executors_of_one_pool_have_what_they_offer_together(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", slots=1, offers={"gpu": 1}, pool=POOL)
        y = await peer(host, "y", slots=1, offers={"gpu": 1}, pool=POOL)
        await begin(x, "s", needing("a", "b", needs={"gpu": 1}))
        first = await x.until("dispatch")
        assert await has_none(y)
        # Though the first one takes no more jobs: its job still has what it took.
        await x.say("announce", executor=None)
        assert await has_none(y)
        await x.batch(1, first["channel"], STARTED, FINISHED)
        assert (await y.until("dispatch"))["node_id"] == "b"


async def test_small_jobs_that_go_on_coming_keep_no_large_one_waiting(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 2})
        await begin(x, "small", needing("a", "b", needs={"gpu": 1}))
        a, b = await x.until("dispatch"), await x.until("dispatch")
        await begin(x, "large", needing("large", needs={"gpu": 2}))
        for number in range(5):
            await begin(x, f"later{number}", needing("later", needs={"gpu": 1}))
        await x.batch(1, a["channel"], STARTED, FINISHED)
        # One GPU is free: it is kept.
        assert await has_none(x)
        await x.batch(2, b["channel"], STARTED, FINISHED)
        large = await x.until("dispatch")
        assert large["node_id"] == "large"
        await x.batch(3, large["channel"], STARTED, FINISHED)
        assert {(await x.until("dispatch"))["session_id"] for _ in range(2)} == {"later0", "later1"}


async def test_what_was_kept_for_a_job_is_free_when_that_is_cancelled(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 2})
        await begin(x, "small", needing("a", needs={"gpu": 1}))
        await x.until("dispatch")
        await begin(x, "large", needing("large", needs={"gpu": 2}))
        await begin(x, "later", needing("later", needs={"gpu": 1}))
        assert await has_none(x)
        await x.ask("cancel", session_id="large", reason="not today")
        assert (await x.until("dispatch"))["node_id"] == "later"


async def test_a_process_of_its_own_takes_what_its_block_needs_from_when_it_is_asked_for(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 1}, pool=POOL)
        plan = bare_plan(*(bare_node(name, block={"needs": {"gpu": 1}, "spawn": True}) for name in "ab"))
        await begin(x, "s", plan)
        asked = await x.until("spawn")
        await x.ask("info", id="settled")
        assert not any(message["op"] == "spawn" for message in x.came)
        child = host.peer()
        greeting = executor(slots=1, offers={"gpu": 1}, pool=POOL, once=True)
        await child.hello(asked["link"], executor=greeting, secret=asked["secret"])
        job = await child.until("dispatch")
        await x.ask("info", id="settled again")
        assert not any(message["op"] == "spawn" for message in x.came)
        await child.batch(1, job["channel"], STARTED, FINISHED)
        assert (await x.until("spawn"))["job_id"] != job["job_id"]


async def test_what_a_lost_executor_had_is_free_again_on_the_one_that_comes_in_its_place(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 1}, pool=POOL)
        await begin(x, "s", needing("a", needs={"gpu": 1}))
        await x.until("dispatch")
        y = host.peer()
        replaced = {"link": "x", "reason": "it was killed", "secret": "x" * 20}
        await y.hello("y", executor=executor(offers={"gpu": 1}, pool=POOL), secret="y" * 20, replaces=replaced)
        assert (await y.until("dispatch"))["node_id"] == "a"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"offers": {"gpu": "2"}}, "must be a number"),
        ({"offers": {"gpu": True}}, "must be a number"),
        ({"offers": {"gpu": -1}}, "'gpu'"),
        ({"offers": {"2gpu": 1}}, "'2gpu'"),
        ({"offers": {"labels": 1}}, "numbers by name"),
        ({"offers": [1]}, "offers"),
        ({"labels": "fast"}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"pool": "short"}, "pool"),
    ],
)
async def test_offers_that_are_none_end_the_link_and_are_named(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    async with mainframe(tmp_path) as host:
        answer = await host.peer().hello("x", executor=executor(**wrong))
        assert (answer["op"], words in answer["reason"]) == ("bye", True), answer


async def test_a_plan_whose_needs_are_no_numbers_is_refused(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x")
        for number, wrong in enumerate([{"memory": "4GiB"}, {"gpu": 0}, {"labels": "x"}, [1], {"gpu": True}]):
            reply = await x.ask("start", id=f"r{number}", session_id="s", plan=needing("a", needs=wrong))  # type: ignore[arg-type]
            assert "block.needs" in reply["error"]["message"], (wrong, reply)


# ---------------------------------------------------------------------- what is said


async def test_a_job_that_waits_for_its_part_says_who_has_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x", offers={"gpu": 2, "memory": 8 << 30})
        await begin(x, "s", needing("trains", needs={"gpu": 2, "memory": 1 << 30}))
        await x.until("dispatch")
        await begin(x, "t", needing("waits", needs={"gpu": 1}))
        told = await x.until_row("t", "JobWaiting")
        assert told["reason"] == "it needs gpu=1; free is 0 of 2 gpu; in use by trains"


async def test_a_job_that_needs_what_nobody_offers_says_so_at_once_and_fails_when_its_time_is_up(
    tmp_path: Path,
) -> None:
    async with mainframe(tmp_path, Settings(no_executor_timeout=1.5)) as host:
        x = await peer(host, "x", offers={"gpu": 1, "memory": 8 << 30}, labels=["slow"])
        await begin(x, "s", needing("a", needs={"gpu": 2, "labels": ["fast"]}))
        told = await x.until_row("s", "JobWaiting")
        assert "offers gpu=2, label fast; they offer gpu=1, memory=8 GiB, label slow" in told["reason"]
        assert "--offers gpu=2 --label fast'" in told["reason"]
        info = (await x.ask("info", id="how"))["result"]
        assert info["in_vain"] == [
            {"jobs": 1, "package": "p", "version": HASH, "needs": {"gpu": 2, "labels": ["fast"]}}
        ]
        assert info["offers"] == [{"packages": [HASH], "gpu": 1, "memory": 8 << 30, "labels": ["slow"]}]
        end = await x.until_row("s", "SessionFinished")
        assert "within 1.5 s: it needs gpu=2, label fast" in end["error"]


async def test_whoever_comes_and_offers_it_gets_what_waited_in_vain(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        x = await peer(host, "x")
        await begin(x, "s", needing("a", needs={"gpu": 1}))
        await x.until_row("s", "JobWaiting")
        y = await peer(host, "y", offers={"gpu": 1})
        assert (await y.until("dispatch"))["node_id"] == "a"


# ---------------------------------------------------------------------- blocks that ask for blocks


ran: list[str] = []


@asyncblock.block(name="on_gpu", inputs=[{"handle": "x"}], outputs=OUT, needs={"gpu": 1})
async def on_gpu(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    ran.append("in")
    assert ran.count("in") - ran.count("out") == 1
    await asyncio.sleep(0)
    ran.append("out")
    return {"out": inputs["x"]}


async def ask_for_many(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    jobs = [await ctx.run_block("self::on_gpu", inputs={"x": number}) for number in range(5)]
    return {"out": [(await job)["out"] for job in jobs]}


plain_caller = asyncblock.block(inputs=[], outputs=OUT, name="plain_caller")(ask_for_many)


async def test_blocks_that_a_block_asks_for_take_their_part_too(tmp_path: Path) -> None:
    ran.clear()
    plan = plan_of(plain_caller, on_gpu)
    async with asyncblock.embedded(tmp_path, offers={"gpu": 1}) as mainframe:
        end = end_of([event async for event in await mainframe.start(plan)])
    assert (end.state, end.outputs) == ("succeeded", {"out": [0, 1, 2, 3, 4]}), end.error
    assert ran == ["in", "out"] * 5


@asyncblock.block(name="on_gpu_too", inputs=[], outputs=OUT, needs={"gpu": 1})
async def on_gpu_too(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    job = await ctx.run_block("self::on_gpu", inputs={"x": 1})
    return {"out": (await job)["out"]}


async def test_a_block_shares_what_it_has_with_those_that_it_waits_for(tmp_path: Path) -> None:
    """Else they would wait for each other."""
    ran.clear()
    plan = plan_of(on_gpu_too, on_gpu)
    async with asyncblock.embedded(tmp_path, offers={"gpu": 1}) as mainframe, asyncio.timeout(30):
        end = end_of([event async for event in await mainframe.start(plan)])
    assert (end.state, end.outputs) == ("succeeded", {"out": 1}), end.error


# ---------------------------------------------------------------------- in Python


@asyncblock.block(outputs=OUT, needs={"memory": "1MiB", "gpu": 1})
async def one(inputs: Mapping[str, Any], ctx: Context) -> dict[str, Any]:
    return {"out": 1}


async def test_a_flow_built_in_python_says_what_its_blocks_and_nodes_need() -> None:
    flow = Flow("f")
    flow.output("a", flow.node(one)["out"])
    flow.output("b", flow.node(one, needs={"labels": ["l"]})["out"])
    flow.output("c", flow.node(one, needs={})["out"])
    plan = flow.plan()
    needs = [node.block.get("needs") for node in plan.nodes]
    assert needs == [{"memory": 1 << 20, "gpu": 1}, {"labels": ["l"]}, None]
    assert await flow.run(offers={"gpu": 1}, labels=["l"]) == {"a": 1, "b": 1, "c": 1}


def test_needs_and_offers_that_are_none_are_refused_where_they_stand() -> None:
    with pytest.raises(LocalProtocolError, match=r"one: 'gpu' in 'needs' is a number above 0"):
        asyncblock.block(needs={"gpu": "lots"})(one.fn)
    with pytest.raises(LocalProtocolError, match="'offers'"):
        asyncblock.Executor(offers={"gpu": -1})
    flow = Flow("f")
    flow.node(one, needs={"label": ["l"]})
    with pytest.raises(InvalidFlow, match="Did you mean 'labels'"):
        flow.plan()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"memory": "4GiB", "gpu": 1}, {"memory": 4 << 30, "gpu": 1}),
        ({"memory": "512M"}, {"memory": 512 << 20}),
        ({"memory": "1.5 Gi"}, {"memory": 3 << 29}),
        ({"memory": 1000}, {"memory": 1000}),
        ({"gpu": 0.5}, {"gpu": 0.5}),
        ({"labels": ["b", "a", "b"]}, {"labels": ["a", "b"]}),
        ({}, None),
        (None, None),
    ],
)
def test_amounts_are_numbers_or_sizes(written: Any, meant: Any) -> None:
    assert needs_problem(written) is None
    assert needs_of(written) == meant


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": "4 gigs"}, {"cpu": "500m"}, {"gpu": 0}, {"gpu": -1}, {"gpu": None}, {"gpu": True}, {"gpu": float("nan")},
        {"gpu": float("inf")}, {"labels": "fast"}, {"labels": [""]}, {"labels": [1]}, {"": 1}, {1: 1}, {"a b": 1}, ["gpu"], "gpu", 3,
        {f"r{n}": 1 for n in range(33)},
    ],
)  # fmt: skip
def test_what_is_no_need_is_said(wrong: Any) -> None:
    assert needs_problem(wrong) is not None


def test_what_is_offered_is_what_is_said_and_the_memory_that_there_is() -> None:
    assert offers_of({"gpu": "2"}, ["b", "a"], 77) == {"gpu": 2, "memory": 77, "labels": ["a", "b"]}
    assert offers_of({"memory": "0"}, [], 77) == {}
    offered = Resources.of({"gpu": 2, "labels": ["a"]})
    assert Resources.of({"gpu": 2}).lacks(offered) == NOTHING
    assert str(Resources.of({"gpu": 2.5, "memory": 3 << 29, "labels": ["b"]}).lacks(offered)) == (
        "gpu=2.5, memory=1.5 GiB, label b"
    )
    assert Resources.of({"memory": 3 << 29, "labels": ["b"]}).as_options() == "--offers memory=1.5GiB --label b"


# ---------------------------------------------------------------------- files, commands and real executors


WHERE = """
    import os

    async def main(inputs, ctx):
        return {"out": os.getppid()}
    """


def package(place: Path) -> Path:
    """Write a flow of three nodes: one anywhere, one with a GPU, one with a fast disk by what its node says."""
    nodes = [node(name, WHERE, place) for name in ("anywhere", "gpu", "disk")]
    nodes[1]["task"]["needs"] = {"gpu": 1, "memory": "1MiB"}
    nodes[2]["needs"] = {"labels": ["fast-disk"]}
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in ("gpu", "disk")]
    return write_flow(place, nodes, outputs_from=outputs)


async def serving(stack: AsyncExitStack, tmp_path: Path) -> asyncblock.Mainframe:
    data, port = tmp_path / "data", free_port()
    serve = start("serve", "--data-dir", data, "--port", str(port), "--no-executor-timeout", "150", state=tmp_path)
    await (await stack.enter_async_context(serve)).until_line("mainframe at", err=True)
    token = (data / "token").read_text().strip()
    return await stack.enter_async_context(asyncblock.connect(f"ws://127.0.0.1:{port}", token))


async def executing(stack: AsyncExitStack, tmp_path: Path, flow: Path, *more: str) -> Command:
    arguments: tuple[str | Path, ...] = ("executor", "--data-dir", tmp_path / "data", "--package", flow.parent, *more)
    return await stack.enter_async_context(start(*arguments, state=tmp_path))


async def test_a_job_runs_where_what_it_needs_is_offered(tmp_path: Path) -> None:
    flow = package(tmp_path / "f")
    async with AsyncExitStack() as stack:
        mainframe = await serving(stack, tmp_path)
        disk = await executing(stack, tmp_path, flow, "--label", "fast-disk")
        gpu = await executing(stack, tmp_path, flow, "--offers", "gpu=2")
        assert ": f, the examples; offers gpu=2;" in await gpu.until_line("executor for", err=True)
        for _ in range(3):
            session = await mainframe.start(flow)
            assert await session.outputs() == {"gpu": gpu.process.pid, "disk": disk.process.pid}
        fine = await run("check", flow, "--url", "here", "--data-dir", tmp_path / "data", state=tmp_path)
        assert fine.process.returncode == 0, fine.out


async def test_what_nobody_offers_is_told_by_check_and_doctor_and_the_session_that_waits_for_it(tmp_path: Path) -> None:
    flow = package(tmp_path / "f")
    check: tuple[str | Path, ...] = ("check", flow, "--url", "here", "--data-dir", tmp_path / "data")
    async with AsyncExitStack() as stack:
        mainframe = await serving(stack, tmp_path)
        nobody = await run(*check, state=tmp_path)
        assert (nobody.process.returncode, "no executor is connected" in nobody.out[0]) == (2, True)
        gpu = await executing(stack, tmp_path, flow, "--offers", "gpu=2")
        session = await mainframe.start(flow)
        async for event in session:
            if (
                isinstance(event, events.JobWaiting)
                and event.node_id == "disk"
                and "offers label fast-disk" in event.reason
            ):
                break
        checked, doctor = await asyncio.gather(
            run(*check, state=tmp_path), run("doctor", "--data-dir", tmp_path / "data", state=tmp_path)
        )
        assert checked.process.returncode == 2
        assert "node 'disk' needs label fast-disk, and no executor that has its code offers" in checked.out[0]
        assert "--label fast-disk" in checked.out[0]
        [waiting] = [line for line in doctor.out if "waiting" in line.split()]
        assert (doctor.process.returncode, "1 job of " in waiting, "label fast-disk" in waiting) == (1, True, True)
        assert any("they offer gpu=2, memory=" in line for line in doctor.out)
        await executing(stack, tmp_path, flow, "--label", "fast-disk")
        assert (await session.outputs())["gpu"] == gpu.process.pid
        (flow.parent / "gpu.py").write_text("def main(): ...\n")
        other = await run(*check, state=tmp_path)
        assert (other.process.returncode, "no executor has " in other.out[0]) == (2, True)


async def test_a_run_says_before_it_starts_what_it_does_not_offer(tmp_path: Path) -> None:
    flow = package(tmp_path / "f")
    refused = await run("run", flow, state=tmp_path)
    assert refused.process.returncode == 2
    assert "--offers gpu=1" in refused.err[1]
    assert "node 'disk' needs label fast-disk" in refused.err[2]
    offered = ("--offers", "gpu=1", "--label", "fast-disk")
    done = await run("run", flow, *offered, "--workers", "2", state=tmp_path)
    assert done.process.returncode == 0, done.err


def test_options_that_offer_nothing_are_refused() -> None:
    assert Offered.read(["gpu=2,memory=4GiB"], ["a,b"]) == Offered({"gpu": "2", "memory": "4GiB"}, ("a", "b"))
    for offers, labels in ([("gpu",), ()], [("gpu=many",), ()], [("=1",), ()], [(), ("a b",)]):
        with pytest.raises(typer.BadParameter):
            Offered.read(offers, labels)


async def test_retry_offers_what_the_run_has_offered(tmp_path: Path) -> None:
    place = tmp_path / "f"
    broken = node("n", "async def main(inputs, ctx):\n    raise ValueError('not yet')\n", place, needs={"gpu": 1})
    flow = write_flow(place, [broken])
    failed = await run("run", flow, "--offers", "gpu=1", "--json", state=tmp_path)
    session_id = failed.events()[-1]["session_id"]
    node("n", "async def main(inputs, ctx):\n    return {'out': 1}\n", place)
    again = await run("retry", session_id, state=tmp_path)
    assert again.process.returncode == 0, (again.out, again.err)


def test_what_is_wrong_with_needs_is_told_with_file_and_line(tmp_path: Path) -> None:
    slow = node("n", WHERE, tmp_path, needs={"gpu": "lots"})
    condition = {"node_id": "c", "conditions": {"cases": []}, "needs": {"gpu": 1}, "inputs_def": [handle_def("x")]}
    flow = write_flow(tmp_path, [slow, condition])
    with pytest.raises(InvalidFlow) as caught:
        load_flow(flow)
    said = [(problem.message, problem.line) for problem in caught.value.problems]
    assert any("node 'n': 'gpu' in 'needs' is a number" in words and line for words, line in said), said
    assert any("node 'c': 'needs' is for tasks" in words and line for words, line in said), said
