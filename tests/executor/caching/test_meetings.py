"""The cache beside what else blocks do: files that change places, frames of names, forks, calls that are given up."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ...flow.packages import block, write
from ...flows import all_of, end_of
from .test_attempt import CACHED, counting, run, single, states, twice, why


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCBLOCK_CACHE_DIR", str(tmp_path / "results"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "pkg/package.oo.yaml", "name: mine\n")
    return tmp_path / "pkg"


# ---------------------------------------------------------------------- files that inputs and results name


async def test_two_files_that_change_places_are_a_change(root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("1")
    other.write_text("2")
    path = single(root, "return {'y': [Path(x).read_text() for x in inputs['x']]}")
    given = {"x": [str(one), str(other)]}
    await twice(root, path, given)
    one.write_text("2")
    other.write_text("1")
    assert end_of(await run(path, given)).outputs == {"y": ["2", "1"]}


async def test_a_file_that_comes_in_the_place_of_another_one_is_a_change(root: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("1")
    path = single(root, "return {'y': [Path(x).exists() for x in inputs['x']]}")
    given = {"x": [str(one), str(other)]}
    await twice(root, path, given)
    one.rename(other)
    assert end_of(await run(path, given)).outputs == {"y": [False, True]}


async def test_keys_that_are_paths_name_files_too(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("1")
    path = single(root, "return {'y': Path([*inputs['x']][0]).read_text()}")
    given = {"x": {str(file): 1}}
    await twice(root, path, given)
    file.write_text("2")
    assert end_of(await run(path, given)).outputs == {"y": "2"}


HOLDERS = {
    "a list": ("[FILE]", "v[0]"),
    "a path": ("Path(FILE)", "v"),
    "a dict of paths": ("{'p': Path(FILE)}", "v['p']"),
    "a key": ("{FILE: 1}", "[*v][0]"),
    "a set": ("{FILE}", "[*v][0]"),
    "a Series": ("pd.Series([FILE])", "v.iloc[0]"),
    "a DataFrame": ("pd.DataFrame({'n': [1], 'f': [FILE]})", "v['f'].iloc[0]"),
    "a categorical": ("pd.Series([FILE], dtype='category')", "v.iloc[0]"),
    "an array": ("np.array([FILE])", "str(v[0])"),
    "polars": ("pl.DataFrame({'f': [FILE]})", "v['f'][0]"),
}


@pytest.mark.parametrize(("makes", "takes"), HOLDERS.values(), ids=HOLDERS.keys())
async def test_values_on_var_handles_name_files_too(root: Path, tmp_path: Path, makes: str, takes: str) -> None:
    file = tmp_path / "in.csv"
    file.write_text("1")
    head = "import numpy as np\nimport polars as pl\n" if "np." in makes or "pl." in makes else ""
    makes = makes.replace("FILE", repr(str(file)))
    block(root, "make", "x", "v:var", head + counting(root, f"return {{'v': {makes}}}"))
    reads = f"v = inputs['v']\nreturn {{'y': Path({takes}).read_text()}}"
    block(root, "take", "v:var", "y", head + counting(root, reads), CACHED)
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: make, task: self::make, inputs_from: [{handle: x, value: 1}]}
          - {node_id: take, task: self::take, inputs_from: [{handle: v, from_node: [{node_id: make, output_handle: v}]}]}
        outputs_from: [{handle: y, from_node: [{node_id: take, output_handle: y}]}]
        """,
    )
    for state, text in (("kept", "1"), ("hit", "1"), ("kept", "2")):
        file.write_text(text)
        found = await run(path)
        assert end_of(found).outputs == {"y": text}
        assert states(found)[-1] == state


@pytest.mark.parametrize("many", [0, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["json", "var"])
async def test_a_result_that_names_a_file_which_has_gone_is_gone(
    root: Path, tmp_path: Path, kind: str, many: int
) -> None:
    out = tmp_path / "out.txt"
    body = f"Path({str(out)!r}).write_text('made')\n"
    body += f"return {{'y': [{str(out)!r}] + ['text %d' % i for i in range({many})]}}"
    path = single(root, body, outputs="y:var" if kind == "var" else "y")
    assert states(await run(path, {"x": 1})) == ["miss", "kept"]
    assert states(await run(path, {"x": 1})) == ["hit"]
    out.unlink()
    assert states(await run(path, {"x": 1})) == ["miss", "kept"]
    assert out.read_text() == "made"


# ---------------------------------------------------------------------- what is sent in other ways

FORKS = """
import multiprocessing

def work(ctx, n):
    ctx.output([n] * 3000, 'y')

def main(inputs, ctx):
    ctx.output(0, 'y')
    for n in (1, 2):
        process = multiprocessing.get_context('fork').Process(target=work, args=(ctx, n))
        process.start()
        process.join()
    ctx.output(3, 'y')
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_what_forked_processes_put_out_is_kept_too(root: Path, kind: str) -> None:
    source = FORKS
    if kind == "async def":
        source = "import asyncio\n" + FORKS.replace("def main", "async def main").replace(
            "    ctx.output(0", "    await ctx.output(0"
        )
        source = source.replace("    ctx.output(3", "    await ctx.output(3").replace(
            "process.join()", "await asyncio.to_thread(process.join)"
        )
        source = source.replace("    ctx.output([n] * 3000, 'y')", "    asyncio.run(ctx.output([n] * 3000, 'y'))")
    path = block(root, "b", "x", "y", source, CACHED)
    for state in ("kept", "hit"):
        found = await run(path, {"x": 1}, workers=1)
        assert end_of(found).state == "succeeded", end_of(found)
        assert states(found)[-1] == state, why(found)
        assert [event.output for event in all_of(found, events.BlockOutput)] == [0, [1] * 3000, [2] * 3000, 3]


GIVES_UP = """
import asyncio

async def main(inputs, ctx):
    task = asyncio.create_task(ctx.output('never', 'y'))
    for _ in range(inputs['x']):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ctx.output('last', 'y')
"""


@pytest.mark.parametrize("turns", range(1, 5))
async def test_a_call_that_was_cancelled_gives_nothing_the_next_time(root: Path, turns: int) -> None:
    path = block(root, "b", "x", "y", GIVES_UP, CACHED)
    first, again = await run(path, {"x": turns}), await run(path, {"x": turns})
    said = [[event.output for event in all_of(found, events.BlockOutput)] for found in (first, again)]
    # Whether the call had sent it when it was cancelled is chance.
    assert said[0][-1] == said[1][-1] == "last"
    if states(again) == ["hit"]:
        assert said[0] == said[1]


tenant: ContextVar[str] = ContextVar("tenant_of_cached")

WHOSE = """
def main(inputs, ctx):
    from tests.executor.caching.test_meetings import tenant
    return {'y': tenant.get()}
"""


async def test_values_of_context_variables_that_are_carried_count(root: Path) -> None:
    asyncblock.metadata.carry(tenant)
    path = block(root, "b", "x", "y", WHOSE, CACHED)
    for name, state in (("one", "kept"), ("two", "kept"), ("one", "hit")):
        token = tenant.set(name)
        try:
            found = await run(path, {"x": 1})
        finally:
            tenant.reset(token)
        assert end_of(found).outputs == {"y": name}
        assert states(found)[-1] == state
        if name == "two":
            assert all_of(found, events.BlockCache)[0].why == "context variable 'tenant_of_cached' differs"
