"""Going on after a failure: what had finished isn't run again where nothing that it depends on has changed."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.client import Mainframe
from asyncblock.errors import FlowFailed, InvalidFlow, LocalProtocolError
from asyncblock.flow import load_flow
from asyncblock.flow.cached import refreshed

from .flow.packages import block, write
from .flows import all_of
from .processes import run, start

FLOW = """
inputs_def: [{handle: x}, {handle: more, value: 0}]
nodes:
  - {node_id: first, task: self::first, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
  - node_id: middle
    task: self::middle
    inputs_from:
      - {handle: x, from_node: [{node_id: first, output_handle: y}]}
      - {handle: more, from_flow: [{input_handle: more}]}
  - {node_id: last, task: self::last, inputs_from: [{handle: x, from_node: [{node_id: middle, output_handle: y}]}]}
  - {node_id: beside, task: self::beside, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
outputs_from:
  - {handle: y, from_node: [{node_id: last, output_handle: y}]}
  - {handle: beside, from_node: [{node_id: beside, output_handle: y}]}
"""

FAILS = "raise ValueError('not yet')"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_CACHE_DIR", str(tmp_path / "results"))


def step(root: Path, name: str, body: str, inputs: str = "x", outputs: str = "y") -> None:
    """Write a block that tells in a file that it runs."""
    log = f"with open({str(root.parent / 'ran')!r}, 'a') as log:\n        log.write('{name} ')"
    block(root, name, inputs, outputs, f"def main(inputs, ctx):\n    {log}\n    {body}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package whose flow fails in its middle, when all that doesn't need that has finished."""
    root = tmp_path / "pkg"
    write(root / "package.oo.yaml", "name: mine\n")
    write(root / "flows/f/flow.oo.yaml", FLOW)
    step(root, "first", "return {'y': inputs['x'] + 1}")
    step(root, "middle", "import time; time.sleep(0.5)\n    " + FAILS, "x more")
    step(root, "last", "return {'y': -inputs['x']}")
    step(root, "beside", "ctx.preview({'type': 'text', 'data': 'seen'})\n    return {'y': ['text'] * 50_000}")
    return root


def ran(root: Path) -> dict[str, int]:
    """Return which blocks have run since the last call."""
    path = root.parent / "ran"
    found = Counter(path.read_text().split()) if path.exists() else Counter()
    path.unlink(missing_ok=True)
    return dict(found)


def fix(root: Path) -> None:
    step(root, "middle", "return {'y': inputs['x'] * 10 + inputs['more']}", "x more")


async def failed(mainframe: Mainframe, root: Path, inputs: dict[str, Any] | None = None) -> str:
    session = await mainframe.start(root / "flows/f", inputs or {"x": 1})
    with pytest.raises(FlowFailed):
        await session.outputs()
    return session.session_id


async def test_the_command_says_what_stays_and_runs_the_rest(root: Path, tmp_path: Path) -> None:
    how = {"ASYNCBLOCK_CACHE_DIR": str(tmp_path / "results")}
    done = await run("run", root / "flows/f", "--input", "x=1", "--json", state=tmp_path, **how)
    assert done.process.returncode == 1
    assert ran(root) == {"first": 1, "middle": 1, "beside": 1}
    session_id = done.events()[0]["session_id"]
    fix(root)
    done = await run("retry", session_id[:6], "--json", state=tmp_path, **how)
    assert done.process.returncode == 0, done.err
    assert done.events()[-1]["outputs"]["y"] == -20
    assert ran(root) == {"middle": 1, "last": 1}
    words = "\n".join(done.err)
    assert f"retry of session {session_id}: first, beside stays as it was" in words
    assert "middle runs again: its code has changed" in words or "middle runs again: it hadn't finished" in words
    assert "last runs again: it had not run" in words


async def test_what_finished_stays_and_its_outputs_and_previews_come_again(root: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        assert ran(root) == {"first": 1, "middle": 1, "beside": 1}
        fix(root)
        session = await mainframe.retry(session_id)
        assert await session.outputs() == {"y": -20, "beside": ["text"] * 50_000}
        assert ran(root) == {"middle": 1, "last": 1}
        previews = all_of([event async for event in session], events.BlockPreview)
        assert [event.node_id for event in previews] == ["beside"]
        # One that succeeded can be run again, too: then nothing runs at all.
        again = await mainframe.retry(session.session_id)
        assert await again.outputs() == {"y": -20, "beside": ["text"] * 50_000}
        assert ran(root) == {}


async def test_what_depends_on_changed_code_runs_again(root: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        fix(root)
        step(root, "first", "return {'y': inputs['x'] + 2}")
        retry = await mainframe.plan_retry(session_id)
        assert retry.kept == ["beside"]
        assert retry.again["first"] == "its code has changed"
        assert (await (await retry.start()).outputs())["y"] == -30
        assert ran(root) == {"first": 1, "middle": 1, "last": 1}


async def test_what_is_fed_the_same_stays_though_its_source_runs_again(root: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        fix(root)
        session = await mainframe.retry(session_id)
        await session.outputs()
        ran(root)
        # Another text, and the same value.
        step(root, "first", "return {'y': 1 + inputs['x']}")
        assert (await (await mainframe.retry(session.session_id)).outputs())["y"] == -20
        assert ran(root) == {"first": 1}


async def test_a_node_and_all_that_it_feeds_run_again_on_demand(root: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        fix(root)
        retry = await mainframe.plan_retry(session_id, from_node="first")
        assert retry.kept == ["beside"]
        assert retry.again["first"] == "it is to run again"
        await (await retry.start()).outputs()
        assert ran(root) == {"first": 1, "middle": 1, "last": 1}
        with pytest.raises(InvalidFlow, match="the flow has no node 'frist'"):
            await mainframe.plan_retry(session_id, from_node="frist")


async def test_other_inputs_run_what_they_reach(root: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        fix(root)
        session = await mainframe.retry(session_id, inputs={"more": 5})
        assert (await session.outputs())["y"] == -25
        assert ran(root) == {"middle": 1, "last": 1}


@pytest.mark.parametrize("change", ["edited", "touched", "gone"])
async def test_a_file_that_an_input_names_must_not_have_changed(root: Path, tmp_path: Path, change: str) -> None:
    file = tmp_path / "in.txt"
    file.write_text("1")
    step(root, "beside", "from pathlib import Path\n    return {'y': Path(inputs['x']).exists()}")
    step(root, "first", "return {'y': 1}")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root, {"x": str(file)})
        ran(root)
        fix(root)
        if change == "edited":
            file.write_text("2")
        elif change == "touched":
            os.utime(file)
        else:
            file.unlink()
        await (await mainframe.retry(session_id)).outputs()
        assert ran(root)["beside"] == 1


async def test_a_value_in_the_memory_of_a_process_is_made_again(root: Path) -> None:
    step(root, "first", "return {'y': {1, 2}}", outputs="y:var")
    step(root, "middle", FAILS, "x:var more")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        step(root, "middle", "return {'y': sum(inputs['x'])}", "x:var more")
        retry = await mainframe.plan_retry(session_id)
        assert retry.again["first"].startswith("its output 'y' was in the memory of a process")
        assert "cache: true" in retry.again["first"]
        assert (await (await retry.start()).outputs())["y"] == -3
        assert ran(root)["first"] == 1


ROWS = """
    import dataclasses
    import random
    import pandas


    @dataclasses.dataclass
    class Row:
        n: int


    def main(inputs, ctx):
        with open(PATH, "a") as log:
            log.write("first ")
        return {"y": [Row(inputs["x"] + random.random())], "frame": pandas.DataFrame({"n": [random.random()]})}
"""
CACHED = "\ncache: true\n"


def cached(root: Path, name: str) -> None:
    with open(root / f"blocks/{name}/block.oo.yaml", "a") as file:
        file.write(CACHED)


async def test_what_the_cache_has_of_a_value_in_the_memory_of_a_process_stays(root: Path) -> None:
    # Random numbers: what runs again puts out others.
    rows = ROWS.replace("PATH", repr(str(root.parent / "ran")))
    block(root, "first", "x", "y:var frame:var", textwrap.dedent(rows))
    cached(root, "first")
    text = (root / "flows/f/flow.oo.yaml").read_text().replace("task: self::last, inputs_from: [", LAST)
    (root / "flows/f/flow.oo.yaml").write_text(text)
    step(root, "middle", "return {'y': inputs['x']}", "x:var more", "y:var")
    cached(root, "middle")
    step(root, "last", FAILS, "x:var frame:var")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        for again in range(2):
            # The second retry is one of a retry, whose jobs have their values from the cache.
            retry = await mainframe.plan_retry(session_id)
            assert set(retry.again) == {"last"}
            session = await retry.start()
            session_id = session.session_id
            with pytest.raises(FlowFailed):
                await session.outputs()
            assert ran(root) == {"last": 1}, again
        step(root, "last", "return {'y': [inputs['x'][0].n, *inputs['frame']['n']]}", "x:var frame:var")
        outputs = await (await mainframe.retry(session_id)).outputs()
        assert ran(root) == {"last": 1}
        assert 1 < outputs["y"][0] < 2
        assert 0 < outputs["y"][1] < 1


LAST = "task: self::last, inputs_from: [{handle: frame, from_node: [{node_id: first, output_handle: frame}]}, "


async def test_a_kept_result_that_another_session_has_made_since_is_not_that_of_this_one(root: Path) -> None:
    step(root, "first", "import random\n    return {'y': {random.random()}}", outputs="y:var")
    cached(root, "first")
    step(root, "middle", FAILS, "x:var more")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        other = await mainframe.start(refreshed(load_flow(root / "flows/f", inputs={"x": 1}), ["first"]), {"x": 1})
        with pytest.raises(FlowFailed):
            await other.outputs()
        assert ran(root)["first"] == 2
        step(root, "middle", "return {'y': sum(inputs['x'])}", "x:var more")
        assert "first" in (await mainframe.plan_retry(session_id)).again
        assert "first" not in (await mainframe.plan_retry(other.session_id)).again


async def test_jobs_of_subflows_and_of_many_values_stay(root: Path) -> None:
    step(root, "count", "[ctx.output(n, 'y') for n in range(4)]", inputs="")
    step(root, "square", "return {'y': inputs['x'] ** 2}")
    write(
        root / "subflows/squares/subflow.oo.yaml",
        """
        inputs_def: [{handle: x}]
        nodes:
          - {node_id: square, task: self::square, inputs_from: [{handle: x, from_flow: [{input_handle: x}]}]}
        outputs_def: [{handle: y}]
        outputs_from: [{handle: y, from_node: [{node_id: square, output_handle: y}]}]
        """,
    )
    write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: count, task: self::count}
          - node_id: squares
            subflow: self::squares
            inputs_from: [{handle: x, from_node: [{node_id: count, output_handle: y}]}]
          - node_id: check
            task: self::check
            inputs_from: [{handle: x, from_node: [{node_id: squares, output_handle: y}]}]
        outputs_from: [{handle: y, from_node: [{node_id: check, output_handle: y}]}]
        """,
    )
    step(root, "check", "assert inputs['x'] != 9\n    return {'y': inputs['x']}")
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(root / "flows/f")
        with pytest.raises(FlowFailed):
            await session.outputs()
        assert ran(root) == {"count": 1, "square": 4, "check": 4}
        step(root, "check", "return {'y': inputs['x']}")
        retry = await mainframe.plan_retry(session.session_id)
        assert retry.kept == ["count", "squares"]
        assert await (await retry.start()).outputs() == {"y": 9}
        assert ran(root) == {"check": 4}


broken = True


@asyncblock.block
async def make(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Put out how often it ran."""
    calls.append("make")
    return {"y": 1}


@asyncblock.block
async def check(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Fail while something outside is broken."""
    calls.append("check")
    if broken:
        raise ValueError("broken")
    return {"y": inputs["x"] + 1}


calls: list[str] = []


async def test_a_flow_built_in_python_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = asyncblock.Flow("checked")
    flow.output("y", flow.node(check, {"x": flow.node(make, {})["y"]})["y"])
    calls.clear()
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow, metadata={"user": 1})
        with pytest.raises(FlowFailed):
            await session.outputs()
        monkeypatch.setitem(globals(), "broken", False)
        with pytest.raises(LocalProtocolError, match="built in Python: give the flow, too"):
            await mainframe.retry(session.session_id)
        again = await mainframe.retry(session.session_id, flow)
        assert await again.outputs() == {"y": 2}
    assert calls == ["make", "check", "check"]


async def test_a_session_that_runs_cannot_be_retried(root: Path) -> None:
    step(root, "middle", "import time\n    time.sleep(600)", "x more")
    write(root / "blocks/middle/main.py", "import asyncio\nasync def main(inputs): await asyncio.sleep(600)\n")
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(root / "flows/f", {"x": 1})
        with pytest.raises(LocalProtocolError, match="still runs"):
            await mainframe.retry(session.session_id)
        await session.cancel()


@pytest.mark.parametrize("many", [0, 20_000], ids=["small", "large"])
async def test_what_put_out_the_name_of_a_file_that_has_gone_runs_again(root: Path, tmp_path: Path, many: int) -> None:
    made = tmp_path / "made"
    write_it = f"import pathlib; d = pathlib.Path({str(made)!r}); d.mkdir(exist_ok=True); (d / 'a').write_text('1')"
    step(root, "first", f"{write_it}\n    return {{'y': [str(d / 'a')] + ['text'] * {many}}}")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root)
        ran(root)
        shutil.rmtree(made)
        step(root, "middle", "import pathlib; return {'y': int(pathlib.Path(inputs['x'][0]).read_text())}", "x more")
        retry = await mainframe.plan_retry(session_id)
        assert f"{made}/a, which its output 'y' names, isn't there" in retry.again["first"]
        assert (await (await retry.start()).outputs())["y"] == -1
        assert ran(root) == {"first": 1, "middle": 1, "last": 1}


async def test_what_has_changed_deep_in_a_directory_that_an_input_names_counts(root: Path, tmp_path: Path) -> None:
    deep = write(tmp_path / "data/deep/a.txt", "1")
    step(root, "first", "import pathlib; return {'y': int((pathlib.Path(inputs['x']) / 'deep/a.txt').read_text())}")
    async with asyncblock.embedded() as mainframe:
        session_id = await failed(mainframe, root, {"x": str(tmp_path / "data")})
        deep.write_text("2")
        fix(root)
        retry = await mainframe.plan_retry(session_id)
        assert retry.again["first"] == f"{tmp_path / 'data'}, which its input 'x' names, has changed since"
        assert (await (await retry.start()).outputs())["y"] == -20


async def test_a_run_that_was_killed_is_resumed_and_not_retried(root: Path, tmp_path: Path) -> None:
    """And nothing of it goes on meanwhile."""
    step(
        root, "middle", "import time; print('in the middle', flush=True); time.sleep(1)\n    return {'y': 1}", "x more"
    )
    async with start("run", root / "flows/f", "--input", "x=1", "--json", state=tmp_path) as command:
        await command.until_line("in the middle")
        session_id = command.events()[0]["session_id"]
        command.kill()
        await command.wait()
    before = ran(root)
    done = await run("retry", session_id, state=tmp_path)
    assert done.process.returncode == 2
    assert f"session {session_id} was interrupted; go on with it: asyncblock resume {session_id}" in "".join(done.err)
    assert before
    assert ran(root) == {}
