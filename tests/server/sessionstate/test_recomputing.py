"""Var values that went with their process are made again, where their block allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import FlowFailed, ValueLost
from asyncblock.flow import load_flow
from asyncblock.server.settings import Settings

from ...flow.packages import block, problems, write
from ...flows import all_of
from ...peers import mainframe, node, plan
from ..dispatching.test_dispatch import FINISHED, STARTED, until_stored
from ..dispatching.test_placing import VAR, executor, key, output

pytestmark = pytest.mark.timeout(90)

AGAIN = "recompute: true\n"

COUNTED = """
import os, signal
from pathlib import Path

def ran(name):
    with open(Path(ROOT) / name, "a") as file:
        file.write("x")
    return (Path(ROOT) / name).stat().st_size

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Every block says in a file how often it has run: processes come and go."""


class Case:
    """A package whose blocks count how often they run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.counts = root / "counts"
        self.counts.mkdir()
        write(root / "pkg/package.oo.yaml", "name: mine\n")

    def block(self, name: str, inputs: str, outputs: str, body: str, more: str = "") -> None:
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        source = COUNTED.replace("ROOT", repr(str(self.counts)))
        source += f"\nasync def main(inputs, ctx):\n    times = ran({name!r})\n{lines}\n"
        block(self.root / "pkg", name, inputs, outputs, source, more)

    def flow(self, text: str) -> Path:
        return write(self.root / "pkg/flows/f/flow.oo.yaml", text)

    def ran(self, name: str) -> int:
        path = self.counts / name
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def task(name: str, **sources: str) -> str:
    """Return a node; ``v="make.v"`` feeds its input v."""
    pairs = [(handle, *source.split(".")) for handle, source in sources.items()]
    fed = [f"{{handle: {h}, from_node: [{{node_id: {n}, output_handle: {o}}}]}}" for h, n, o in pairs]
    return f"  - {{node_id: {name}, task: self::{name}, inputs_from: [{', '.join(fed)}]}}\n"


def out(source: str) -> str:
    name, _, handle = source.partition(".")
    return f"outputs_from: [{{handle: y, from_node: [{{node_id: {name}, output_handle: {handle}}}]}}]\n"


RETRIED = "retries: {retries: 3, backoff: 0.01}\n"


async def run(path: Path) -> tuple[dict[str, Any], list[asyncblock.events.Event]]:
    async with asyncblock.embedded(workers=1) as mainframe:
        session = await mainframe.start(path)
        outputs = await session.outputs()
        return outputs, [event async for event in session]


async def test_only_what_was_lost_is_made_again_and_delivered(case: Case) -> None:
    case.block("make", "", "n v w:var x:var", "await ctx.output(7, 'n')\nreturn {'w': {1}, 'x': {2, 3}}", AGAIN)
    case.block("counts", "n", "", "return {}")
    case.block("early", "w:var", "done", "return {'done': len(inputs['w'])}")
    case.block("take", "x:var done", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['x'])}", RETRIED)
    path = case.flow(
        "nodes:\n" + task("make") + task("counts", n="make.n") + task("early", w="make.w")
        + task("take", x="make.x", done="early.done") + out("take.y")
    )  # fmt: skip
    outputs, told = await run(path)
    assert outputs == {"y": [2, 3]}
    assert {name: case.ran(name) for name in ("make", "counts", "early", "take")} == {
        "make": 2,
        "counts": 1,
        "early": 1,
        "take": 2,
    }
    again = [event for event in all_of(told, events.JobCreated) if event.recomputes is not None]
    assert [(event.node_id, event.recomputes) for event in again] == [("make", f"{again[0].session_id}.0")]


async def test_a_chain_is_made_again_from_its_beginning(case: Case) -> None:
    case.block("one", "", "v:var", "return {'v': {1}}", AGAIN)
    case.block("two", "v:var", "v:var", "return {'v': inputs['v'] | {2}}", AGAIN)
    case.block("three", "v:var", "v:var", "return {'v': inputs['v'] | {3}}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    path = case.flow(
        "nodes:\n" + task("one") + task("two", v="one.v") + task("three", v="two.v") + task("take", v="three.v")
        + out("take.y")
    )  # fmt: skip
    outputs, _ = await run(path)
    assert outputs == {"y": [1, 2, 3]}
    assert [case.ran(name) for name in ("one", "two", "three", "take")] == [2, 2, 2, 2]


async def test_a_chain_that_begins_with_what_may_not_run_again_fails_and_names_that(case: Case) -> None:
    case.block("one", "", "v:var", "return {'v': {1}}")
    case.block("two", "v:var", "v:var", "return {'v': inputs['v'] | {2}}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': 1}", RETRIED)
    path = case.flow("nodes:\n" + task("one") + task("two", v="one.v") + task("take", v="two.v") + out("take.y"))
    with pytest.raises(ValueLost, match=r"handle 'v' of node one .* is gone, too, and its block doesn't say") as caught:
        await run(path)
    assert (caught.value.node_id, caught.value.producer) == ("take", "two")
    assert [case.ran(name) for name in ("one", "two")] == [1, 1]


async def test_what_is_lost_twice_is_made_twice(case: Case) -> None:
    case.block("one", "", "v:var", "return {'v': {1}}", AGAIN)
    case.block("two", "v:var", "v:var", "return {'v': inputs['v'] | {2}}", AGAIN)
    case.block("take", "v:var", "y", "if times <= 2:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    path = case.flow("nodes:\n" + task("one") + task("two", v="one.v") + task("take", v="two.v") + out("take.y"))
    outputs, _ = await run(path)
    assert outputs == {"y": [1, 2]}
    assert [case.ran(name) for name in ("one", "two", "take")] == [3, 3, 3]


async def test_the_process_may_end_while_a_value_is_made_again(case: Case) -> None:
    case.block("make", "", "v:var", "if times == 2:\n    die()\nreturn {'v': {times}}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    outputs, _ = await run(case.flow("nodes:\n" + task("make") + task("take", v="make.v") + out("take.y")))
    assert outputs == {"y": [3]}


async def test_outputs_of_a_block_with_retries_come_from_one_attempt_of_the_new_job(case: Case) -> None:
    body = "await ctx.output({times}, 'v')\nif times in (1, 3):\n    raise ValueError('not yet')\nreturn {}"
    case.block("make", "", "v:var", body, AGAIN + RETRIED)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    outputs, told = await run(case.flow("nodes:\n" + task("make") + task("take", v="make.v") + out("take.y")))
    assert outputs == {"y": [4]}
    assert len(all_of(told, events.JobCreated)) == 3


async def test_several_values_of_one_handle_are_the_same_ones_again(case: Case) -> None:
    """The third of five consumers dies when the producer has ended; the first two have had theirs."""
    body = "for n in range(5):\n    await ctx.output({n, times * 100}, 'v')\nreturn {'end': 5}"
    case.block("make", "", "v:var end", body, AGAIN)
    # It may still be about to say its end when its process dies.
    case.block("signal", "end", "", "return {}", RETRIED)
    dies = """
if times == 3:
    while not (Path(ROOT) / "signal").exists():
        import asyncio
        await asyncio.sleep(0.01)
    die()
return {"y": sorted(inputs["v"])}
""".replace("ROOT", repr(str(case.counts)))
    case.block("take", "v:var", "y", dies, RETRIED)
    case.block("all", "y", "y", "await ctx.output(inputs['y'], 'y')\nreturn {}", RETRIED)
    path = case.flow(
        "nodes:\n" + task("make") + task("signal", end="make.end") + task("take", v="make.v") + task("all", y="take.y")
        + out("all.y")
    )  # fmt: skip
    _, told = await run(path)
    taken = [event.result["y"] for event in all_of(told, events.BlockFinished) if "y" in event.result]
    assert taken == [[0, 100], [1, 100], [2, 200], [3, 200], [4, 200]]
    assert case.ran("make") == 2
    assert case.ran("signal") in (1, 2)


async def test_a_block_that_puts_out_something_else_when_it_runs_again_fails_who_waits(case: Case) -> None:
    case.block("make", "", "v:var", "return {'v': {1}} if times == 1 else {}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': 1}", RETRIED)
    path = case.flow("nodes:\n" + task("make") + task("take", v="make.v") + out("take.y"))
    with pytest.raises(ValueLost, match="it puts out something else when it runs again"):
        await run(path)


async def test_an_error_of_the_second_run_is_told(case: Case) -> None:
    case.block("make", "", "v:var", "if times == 2:\n    raise ValueError('no more')\nreturn {'v': {1}}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': 1}", RETRIED)
    path = case.flow("nodes:\n" + task("make") + task("take", v="make.v") + out("take.y"))
    with pytest.raises(FlowFailed, match="which was to make it again, failed: ValueError: no more"):
        await run(path)


async def test_retries_alone_allow_nothing(case: Case) -> None:
    case.block("make", "", "v:var", "return {'v': {1}}", RETRIED)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': 1}", RETRIED)
    path = case.flow("nodes:\n" + task("make") + task("take", v="make.v") + out("take.y"))
    with pytest.raises(ValueLost):
        await run(path)
    assert case.ran("make") == 1


async def test_a_value_of_a_subflow_that_is_over_is_made_again(case: Case) -> None:
    case.block("make", "", "v:var", "return {'v': {1}}", AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    inner = "outputs_def: [{handle: v, json_schema: {contentMediaType: oomol/var}}]\nnodes:\n" + task("make")
    inner += "outputs_from: [{handle: v, from_node: [{node_id: make, output_handle: v}]}]\n"
    write(case.root / "pkg/subflows/sub/subflow.oo.yaml", inner)
    path = case.flow("nodes:\n  - {node_id: sub, subflow: self::sub}\n" + task("take", v="sub.v") + out("take.y"))
    outputs, _ = await run(path)
    assert (outputs, case.ran("make")) == ({"y": [1]}, 2)


async def test_a_block_that_runs_again_may_ask_for_blocks_again(case: Case) -> None:
    case.block("helper", "", "n", "return {'n': times}")
    body = "job = await ctx.run_block('self::helper')\nfound = await job\nreturn {'v': {found['n']}}"
    case.block("asks", "", "v:var", body, AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': sorted(inputs['v'])}", RETRIED)
    outputs, _ = await run(case.flow("nodes:\n" + task("asks") + task("take", v="asks.v") + out("take.y")))
    assert (outputs, case.ran("helper")) == ({"y": [2]}, 2)


async def test_who_waits_for_a_value_waits_no_longer_than_its_timeout(case: Case) -> None:
    """And the job that would have made it is cancelled with the session."""
    slow = "if times > 1:\n    import asyncio\n    await asyncio.sleep(600)\nreturn {'v': {1}}"
    case.block("make", "", "v:var", slow, AGAIN)
    case.block("take", "v:var", "y", "if times == 1:\n    die()\nreturn {'y': 1}", RETRIED)
    timed = task("take", v="make.v").replace("{node_id: take,", "{node_id: take, timeout: 20,")
    with pytest.raises(FlowFailed, match="node take took longer than 20 s"):
        await run(case.flow("nodes:\n" + task("make") + timed + out("take.y")))
    assert case.ran("make") == 2


# ---------------------------------------------------------------------- the mainframe comes back in the middle


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("snapshot", [1 << 30, 1])
async def test_a_mainframe_that_comes_back_goes_on_making_again(tmp_path: Path, snapshot: int, at_once: bool) -> None:
    settings = Settings(snapshot_bytes=snapshot)
    source = node("a", block={"outputs_def": VAR, "recompute": True}, group="g")
    middle = node("b", {"v": {"sources": [["a", "out"]]}}, block={"outputs_def": VAR, "recompute": True}, group="g")
    flow = plan(source, middle, node("c", {"v": {"sources": [["b", "out"]]}}, group="g"), outputs={"y": [["c", "out"]]})
    async with mainframe(tmp_path, settings) as host:
        x = host.peer()
        await x.hello("x", executor=executor(), secret="x" * 20)
        await x.ask("start", session_id="s", plan=flow)
        a = await x.until("dispatch")
        await x.batch(1, a["channel"], STARTED, output(a, 0), FINISHED)
        b = await x.until("dispatch")
        await x.batch(2, b["channel"], STARTED, output(b, 0), output(b, 1), FINISHED)
        await x.until("dispatch")
        await until_stored(x, 2)
        await x.say("bye", code="closed", reason="", stop=True)
        y = host.peer()
        await y.hello("y", executor=executor(), secret="y" * 20)
        first = await y.until("dispatch")
        assert (first["job_id"], first["node_id"]) == ("s.again1", "a")
        await y.batch(1, first["channel"], STARTED)
        await until_stored(y, 1)
    async with mainframe(tmp_path, settings) as host:
        y = host.peer()
        open_jobs = [[first["channel"], first["job_id"], 1]]
        back: dict[str, Any] = {"generation": 2, "secret": "y" * 20, "token": "y" * 20, "channels": open_jobs}
        if at_once:
            # The value comes while the row is being stored behind which its loss is looked at.
            greeting = {"version": 1, "link": "y", "boot": "b", "executor": executor(), **back}
            await y.say("hello", **greeting)
        else:
            await y.hello("y", executor=executor(), **back)
        await y.batch(2, first["channel"], output(first, 0), FINISHED)
        second = await y.until("dispatch")
        assert (second["job_id"], second["inputs"]) == ("s.again0", {"v": key(first, 0)})
        await y.batch(3, second["channel"], STARTED, output(second, 0))
        c = await y.until("dispatch")
        assert (c["node_id"], c["inputs"]) == ("c", {"v": key(second, 0)})
        await until_stored(y, 3)
    async with mainframe(tmp_path, settings) as host:
        y = host.peer()
        jobs = [[job["channel"], job["job_id"], job["attempt"]] for job in (second, c)]
        await y.hello("y", executor=executor(), generation=3, secret="y" * 20, token="y" * 20, channels=jobs)
        await y.batch(4, second["channel"], output(second, 1), FINISHED)
        await y.batch(5, c["channel"], STARTED, {**FINISHED, "result": {"out": 1}})
        other = await y.until("dispatch")
        assert (other["node_id"], other["inputs"]) == ("c", {"v": key(second, 1)})
        await y.batch(6, other["channel"], STARTED, {**FINISHED, "result": {"out": 2}})
        end = (await y.rows("s"))[-1]
        assert (end["state"], end["outputs"]) == ("succeeded", {"y": 2})


async def test_no_more_jobs_of_a_node_run_again_at_once_than_may_run(tmp_path: Path) -> None:
    source = node("src")
    maker = node("a", {"n": {"sources": [["src", "n"]]}}, block={"outputs_def": VAR, "recompute": True}, group="g")
    taker = node("b", {"v": {"sources": [["a", "out"]]}}, group="g", concurrency=9)
    async with mainframe(tmp_path, Settings(lease=0.2)) as host:
        x = host.peer()
        await x.hello("x", executor=executor(), secret="x" * 20)
        await x.ask("start", session_id="s", plan=plan(source, maker, taker))
        src = await x.until("dispatch")
        numbers = [{"type": "BlockOutput", "handle": "n", "output": n, "done": False, "t": 1} for n in range(2)]
        await x.batch(1, src["channel"], STARTED, *numbers, FINISHED)
        got = []
        for seq in (2, 3):
            made = await x.until("dispatch")
            while made["node_id"] != "a":
                made = await x.until("dispatch")
            got.append(made["job_id"])
            await x.batch(seq, made["channel"], STARTED, output(made, 0), FINISHED)
        await until_stored(x, 3)
        await x.transport.close()
        y = host.peer()
        await y.hello("y", executor=executor(), secret="y" * 20)
        first = await y.until("dispatch")
        assert (first["node_id"], first["inputs"]) == ("a", {"n": 0})
        await y.batch(1, first["channel"], STARTED, output(first, 0))
        assert (await y.until("dispatch"))["inputs"] == {"v": key(first, 0)}
        await until_stored(y, 1)
        assert not any(message["op"] == "dispatch" for message in y.came)
        await y.batch(2, first["channel"], FINISHED)
        second = await y.until("dispatch")
        assert (second["node_id"], second["inputs"]) == ("a", {"n": 1})


# ---------------------------------------------------------------------- how it is said


def test_a_node_may_say_otherwise_than_its_block(tmp_path: Path) -> None:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    block(root, "may", "", "v:var", more=AGAIN)
    block(root, "may_not", "", "v:var")
    text = """
    nodes:
      - {node_id: a, task: self::may}
      - {node_id: b, task: self::may, recompute: false}
      - {node_id: c, task: self::may_not, recompute: true}
      - {node_id: d, task: self::may_not}
    """
    found = load_flow(write(root / "flows/f/flow.oo.yaml", text))
    assert [bool(each.block.get("recompute")) for each in found.nodes] == [True, False, True, False]


def test_what_is_no_truth_value_is_refused_with_its_line(tmp_path: Path) -> None:
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    block(root, "bad", "", "v:var", more="recompute: yes please\n")
    block(root, "fine", "", "v:var")
    text = """
    nodes:
      - {node_id: a, task: self::bad}
      - {node_id: b, task: self::fine, recompute: 3}
      - node_id: c
        recompute: true
        conditions:
          cases: [{handle: t, expressions: []}]
    """
    found = problems(write(root / "flows/f/flow.oo.yaml", text))
    words = [(name, line, message) for name, line, message in found if "recompute" in message]
    assert ("block.oo.yaml", 4, "node 'a': 'recompute' must be true or false") in words
    assert ("flow.oo.yaml", 3, "node 'b': 'recompute' must be true or false") in words
    assert any(line == 5 and "for nodes that run a block" in message for _, line, message in words)


@asyncblock.block(recompute=True)
def made() -> dict[str, Any]:
    return {"v": 1}


@asyncblock.block
def made_once() -> dict[str, Any]:
    return {"v": 1}


def test_blocks_of_code_say_it_in_their_decorator_and_their_node() -> None:
    flow = asyncblock.Flow("f")
    flow.node(made, node_id="a")
    flow.node(made, node_id="b", recompute=False)
    flow.node(made_once, node_id="c", recompute=True)
    flow.node(made_once, node_id="d")
    assert [bool(each.block.get("recompute")) for each in flow.plan().nodes] == [True, False, True, False]
