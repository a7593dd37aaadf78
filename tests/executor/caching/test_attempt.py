"""Results from the cache through a real mainframe and executor: right where anything could have changed."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock import events
from asyncblock.errors import InvalidFlow
from asyncblock.flow import load_flow
from asyncblock.flow.cached import cache_problem, with_cache

from ...flow.packages import block, write
from ...flows import all_of, end_of

CACHED = "cache: true\n"


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASYNCBLOCK_CACHE_DIR", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "pkg/package.oo.yaml", "name: mine\n")
    return tmp_path / "pkg"


def counting(root: Path, body: str) -> str:
    """Return a block's source that tells in a file that it runs."""
    # By a name that is no text of its inputs.
    log = f"with open({str(root.parent / 'ran')!r}, 'a') as log:\n        log.write('a')"
    head = f"import pandas as pd\nfrom pathlib import Path\n\ndef main(inputs, ctx):\n    {log}\n"
    return head + textwrap.indent(textwrap.dedent(body), "    ")


def ran(root: Path) -> int:
    path = root.parent / "ran"
    count = len(path.read_text()) if path.exists() else 0
    path.unlink(missing_ok=True)
    return count


def single(root: Path, body: str, inputs: str = "x", outputs: str = "y", more: str = CACHED) -> Path:
    """Write a block that is run as a flow of its own."""
    return block(root, "b", inputs, outputs, counting(root, body), more)


async def run(path: Path, inputs: Mapping[str, Any] | None = None, **options: Any) -> list[events.Event]:
    async with asyncblock.embedded(**options) as mainframe:
        return [event async for event in await mainframe.start(path, inputs)]


def states(found: Sequence[events.Event]) -> list[str]:
    return [event.state for event in all_of(found, events.BlockCache)]


def why(found: Sequence[events.Event]) -> str:
    return all_of(found, events.BlockCache)[-1].why


async def twice(root: Path, path: Path, inputs: Mapping[str, Any], **options: Any) -> list[events.Event]:
    """Run a flow twice: the second time nothing of it runs, and it gives the same. Return the second's events."""
    first = await run(path, inputs, **options)
    assert end_of(first).state == "succeeded", end_of(first).error
    assert set(states(first)) == {"miss", "kept"}, all_of(first, events.BlockCache)
    assert ran(root) > 0
    again = await run(path, inputs, **options)
    assert set(states(again)) == {"hit"}, all_of(again, events.BlockCache)
    assert ran(root) == 0
    assert end_of(again).outputs == end_of(first).outputs
    return again


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_block_that_says_so_runs_once_for_the_same_inputs(root: Path, workers: int) -> None:
    path = single(root, "return {'y': inputs['x'] + 1}")
    found = await twice(root, path, {"x": 1}, workers=workers)
    assert why(found).startswith("kept ")
    other = await run(path, {"x": 2}, workers=workers)
    assert end_of(other).outputs == {"y": 3}
    assert (states(other), ran(root)) == (["miss", "kept"], 1)
    assert all_of(other, events.BlockCache)[0].why == "input 'x' differs"


async def test_a_block_that_says_nothing_is_not_cached(root: Path) -> None:
    path = single(root, "return {'y': 1}", more="")
    for _ in range(2):
        assert states(await run(path, {"x": 1})) == []
    assert ran(root) == 2


SAYS = [
    ("outputs one by one", "for i in range(5):\n    ctx.output(inputs['x'] + i, 'y')", "y"),
    ("outputs together", "ctx.outputs({'y': 1, 'z': [2]})\nreturn {'y': 3}", "y z"),
    ("a large value", "return {'y': ['text %d' % i for i in range(50_000)]}", "y"),
    ("many small values", "return {'y': 'a' * 40_000, 'z': 'b' * 40_000}", "y z"),
    ("bytes", "ctx.output(b'\\0\\xff' * 100_000, 'y')\nreturn {'y': b'few'}", "y:bin"),
    ("odd texts", "return {'y': {'': '\\n\\0 \\u2028', 'n': [None, True, 1.5e300, -0.0, 2**60]}}", "y"),
    ("nothing", "pass", "y"),
    ("done", "ctx.output(1, 'y', done=True)", "y"),
    ("finish", "ctx.finish({'y': 5})", "y"),
]


@pytest.mark.parametrize(("body", "outputs"), [each[1:] for each in SAYS], ids=[each[0] for each in SAYS])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_what_a_block_put_out_comes_again_in_order(root: Path, body: str, outputs: str, kind: str) -> None:
    source = counting(root, body)
    if kind == "async def":
        source = source.replace("def main", "async def main").replace("ctx.", "await ctx.")
    path = block(root, "b", "x", outputs, source, CACHED)
    said = []
    for state in ("kept", "hit"):
        async with asyncblock.embedded() as mainframe:
            session = await mainframe.start(path, {"x": 1})
            found = [event async for event in session]
            assert states(found)[-1] == state
            values = []
            for event in found:
                if isinstance(event, events.BlockOutput):
                    whole = event.output if event.body is None else await session.fetch(event.body)
                    values.append((event.handle, whole))
                elif isinstance(event, events.BlockOutputs):
                    values += [*event.outputs.items()]
            said.append((values, await session.outputs()))
    assert said[0] == said[1]
    assert ran(root) == 1


async def test_previews_come_again(root: Path) -> None:
    body = """
    ctx.preview(pd.DataFrame({'a': [1, 2]}))
    ctx.preview({'type': 'text', 'data': 'first'}, id='p')
    ctx.preview({'type': 'text', 'data': 'second'}, id='p')
    return {'y': 1}
    """
    path = single(root, body)
    first = all_of(await run(path, {"x": 1}), events.BlockPreview)
    found = await run(path, {"x": 1})
    assert states(found) == ["hit"]
    again = all_of(found, events.BlockPreview)
    assert again[0].payload == first[0].payload
    assert again[-1].payload == first[-1].payload
    assert again[-1].payload["data"] == "second"
    assert again[-1].id == first[-1].id == "p"


async def test_the_rows_beside_a_table_come_again(root: Path) -> None:
    body = """
    long = pd.DataFrame({'a': range(3000)})
    ctx.preview(long)
    ctx.preview([long.head(20), {'b': long.tail(30)}])
    return {'y': 1}
    """
    path = single(root, body)
    rows: list[list[Any]] = []
    found: list[events.Event] = []
    async with asyncblock.embedded() as mainframe:
        for _ in range(2):
            session = await mainframe.start(path, {"x": 1})
            found = [event async for event in session]
            alone, group = all_of(found, events.BlockPreview)
            assert alone.pages is not None and group.pages is not None and alone.pages.rows == 3000
            rows.append([await session.fetch(alone.pages.body)])
            rows[-1] += [(each.at, each.note, await session.page(each, 0)) for each in group.pages.tables]
    assert states(found) == ["hit"]
    assert rows[0] == rows[1]
    assert [row for page in rows[1][0] for row in page] == [[number] for number in range(3000)]
    assert rows[1][1:] == [
        ((0,), None, [[number] for number in range(20)]),
        ((1,), None, [[number, number] for number in range(2970, 3000)]),
    ]


MAKES = {
    "a DataFrame": ("pd.DataFrame({'a': [1, None], 'b': ['x', float('nan')]})", "'b' in v and len(v)"),
    "a Series": ("pd.Series([1, 2], name='s')", "int(v.sum())"),
    "a nested list": ("[pd.Series([1]), {'k': {1, 2}}]", "len(v)"),
    "bytes": ("bytearray(b'abc')", "len(v)"),
    "a number": ("7", "v"),
}


@pytest.mark.parametrize(("makes", "takes"), MAKES.values(), ids=MAKES.keys())
async def test_values_that_stay_in_the_process_are_kept_too(root: Path, makes: str, takes: str) -> None:
    block(root, "make", "x", "v:var", counting(root, f"return {{'v': {makes}}}"), CACHED)
    block(root, "take", "v:var", "y", counting(root, f"v = inputs['v']\nreturn {{'y': {takes}}}"), CACHED)
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: make, task: self::make, inputs_from: [{handle: x, value: 1}]}
          - {node_id: take, task: self::take, inputs_from: [{handle: v, from_node: [{node_id: make, output_handle: v}]}]}
        outputs_from: [{handle: y, from_node: [{node_id: take, output_handle: y}]}]
        """,
    )
    await twice(root, path, {})
    # What takes it has the very value, whether it was made or kept.
    take = root / "blocks/take/main.py"
    take.write_text(take.read_text().replace("return {'y': ", "return {'y': 0 or "))
    found = await run(path)
    assert end_of(found).state == "succeeded", end_of(found).error
    assert sorted(states(found)) == ["hit", "kept", "miss"]


@pytest.mark.parametrize("value", ["(i for i in ())", "lambda: 1"])
async def test_a_value_that_cannot_be_kept_is_told_and_made_again(root: Path, value: str) -> None:
    path = single(root, f"return {{'y': {value}}}", outputs="y:var")
    for _ in range(2):
        found = await run(path, {"x": 1})
        assert states(found) == ["miss", "not kept"]
        assert "the value of 'y', a " in why(found)
        assert "can't be pickled" in why(found)
    assert ran(root) == 2


# ---------------------------------------------------------------------- what it depends on


async def changes(root: Path, path: Path, words: str, inputs: Mapping[str, Any] | None = None) -> None:
    """After a change the block runs again, with a reason; and after that it has the new result."""
    given = {"x": 1} if inputs is None else inputs
    found = await run(path, given)
    assert (states(found), ran(root)) == (["miss", "kept"], 1), all_of(found, events.BlockCache)
    assert words in all_of(found, events.BlockCache)[0].why
    assert states(await run(path, given)) == ["hit"]


async def test_an_edit_of_its_code_counts(root: Path) -> None:
    path = single(root, "return {'y': inputs['x']}")
    await twice(root, path, {"x": 1})
    single(root, "return {'y': -inputs['x']}")
    await changes(root, path, "its code has changed")


async def test_an_edit_of_what_it_imports_counts_and_of_other_files_does_not(root: Path) -> None:
    write(root / "helper.py", "FACTOR = 2\n")
    write(root / "other.py", "O = 1\n")
    path = single(root, "from helper import FACTOR\nreturn {'y': inputs['x'] * FACTOR}")
    await twice(root, path, {"x": 1})
    write(root / "other.py", "O = 2\n")
    assert states(await run(path, {"x": 1})) == ["hit"]
    write(root / "helper.py", "FACTOR = 3\n")
    await changes(root, path, "its code has changed")


@pytest.mark.parametrize("nested", [False, True])
async def test_a_file_that_an_input_names_counts_with_what_it_holds(root: Path, tmp_path: Path, nested: bool) -> None:
    file = tmp_path / "in.csv"
    file.write_text("1")
    given: Any = {"all": [str(file)]} if nested else str(file)
    reading = "inputs['x']['all'][0]" if nested else "inputs['x']"
    path = single(root, f"return {{'y': int(Path({reading}).read_text())}}")
    await twice(root, path, {"x": given})
    status = file.stat()
    file.write_text("2")
    # Of the same size, and by its times as old as before.
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    await changes(root, path, "what input 'x' names has changed", {"x": given})
    assert end_of(await run(path, {"x": given})).outputs == {"y": 2}


async def test_a_file_that_its_result_names_must_still_be_what_it_was(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    path = single(root, f"Path({str(out)!r}).write_text('made')\nreturn {{'y': {str(out)!r}}}")
    await twice(root, path, {"x": 1})
    out.unlink()
    await changes(root, path, "which its result names, isn't what it was")
    assert out.read_text() == "made"


async def test_a_result_is_not_kept_when_its_input_file_changed_while_it_ran(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("1")
    path = single(root, "text = Path(inputs['x']).read_text()\nPath(inputs['x']).write_text('2')\nreturn {'y': text}")
    found = await run(path, {"x": str(file)})
    assert states(found) == ["miss", "not kept"]
    assert "has changed while it ran" in why(found)
    assert end_of(await run(path, {"x": str(file)})).outputs == {"y": "2"}


async def test_its_handles_and_its_version_count(root: Path) -> None:
    path = single(root, "return {'y': 1}")
    await twice(root, path, {"x": 1})
    single(root, "return {'y': 1}", outputs="y z")
    await changes(root, path, "its handles have changed")
    single(root, "return {'y': 1}", outputs="y z", more="cache: {version: 2}\n")
    await changes(root, path, "its version is '2', was ''")


async def test_a_module_beside_the_program_counts_with_its_source(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lib/pricing_rules.py", "RATE = 1\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), os.getcwd()]))
    path = single(root, "import pricing_rules\nreturn {'y': pricing_rules.RATE}")
    await twice(root, path, {"x": 1}, workers=1)
    write(tmp_path / "lib/pricing_rules.py", "RATE = 2\n")
    found = await run(path, {"x": 1}, workers=1)
    assert end_of(found).outputs == {"y": 2}
    assert "module 'pricing_rules' is sources" in all_of(found, events.BlockCache)[0].why


async def test_the_version_of_a_distribution_that_it_imports_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = single(root, "return {'y': 1}")
    await twice(root, path, {"x": 1})
    from asyncblock.executor.caching import installed

    before = installed._known["pandas"]
    assert before.startswith("pandas==")
    monkeypatch.setitem(installed._known, "pandas", "pandas==99.0")
    await changes(root, path, f"module 'pandas' is pandas==99.0, was {before}")


async def test_a_result_is_good_for_its_time(root: Path, results: Path) -> None:
    path = single(root, "return {'y': 1}", more="cache: {ttl: 1h}\n")
    await twice(root, path, {"x": 1})
    single(root, "return {'y': 1}", more="cache: {ttl: 0.001}\n")
    found = await run(path, {"x": 1})
    assert states(found) == ["miss", "kept"]
    assert "old, and good for 0 s" in all_of(found, events.BlockCache)[0].why


async def test_a_failed_job_is_not_kept(root: Path, results: Path) -> None:
    path = single(root, "ctx.output(1, 'y')\nraise ValueError('no')")
    for _ in range(2):
        found = await run(path, {"x": 1})
        assert states(found) == ["miss"]
        assert end_of(found).state == "failed"
    assert ran(root) == 2
    assert not [*results.iterdir()]


async def test_a_cancelled_job_leaves_nothing(root: Path, results: Path) -> None:
    source = "import asyncio\nasync def main(inputs, ctx):\n    await ctx.output(1, 'y')\n    await asyncio.sleep(60)\n"
    path = block(root, "b", "x", "y", source, CACHED)
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(path, {"x": 1})
        async for event in session:
            if isinstance(event, events.BlockOutput):
                await session.cancel()
    assert not [*results.iterdir()]


# ---------------------------------------------------------------------- what can't be told


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("ctx.query_downstream()\nreturn {'y': 1}", "what is around it"),
        ("ctx.session_dir\nreturn {'y': 1}", "its session's directory"),
        ("ctx.tmp_dir\nreturn {'y': 1}", "temporary directory"),
        ("ctx.flow_node_store['n'] = 1\nreturn {'y': 1}", "keep for each other"),
        ("return {'y': dict(ctx.metadata)}", "metadata"),
    ],
)
async def test_what_depends_on_more_than_its_inputs_is_not_kept(root: Path, body: str, words: str) -> None:
    path = single(root, body)
    found = await run(path, {"x": 1})
    assert states(found) == ["miss", "not kept"]
    assert words in why(found)


async def test_secrets_are_never_kept(root: Path, monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    monkeypatch.setenv("ASYNCBLOCK_SECRET_SHOP__TOKEN", "s3cret")
    path = single(root, "return {'y': inputs['x']}", inputs="x:secret")
    for _ in range(2):
        found = await run(path, {"x": "Custom,shop,token"})
        assert end_of(found).state == "succeeded", end_of(found).error
        assert states(found) == ["miss"]
        assert "secret" in why(found)
    assert not [*results.glob("*")]


async def test_code_that_was_edited_while_a_session_runs_is_not_kept(root: Path) -> None:
    """The job runs what its process loaded first, whatever the files say by then."""
    path = single(root, "return {'y': inputs['x']}")
    flow = load_flow(path, inputs={"x": 1})
    async with asyncblock.embedded() as mainframe:
        single(root, "return {'y': -inputs['x']}")
        found = [event async for event in await mainframe.start(flow, {"x": 1})]
    assert states(found) == ["miss"]
    assert "edited since the flow was read" in why(found)


# ---------------------------------------------------------------------- blocks in Python code

calls: list[int] = []


@asyncblock.block(cache=True)
async def double(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return twice the value."""
    calls.append(inputs["x"])
    return {"y": 2 * inputs["x"]}


@asyncblock.block(cache={"ttl": "soon"})
async def wrong(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Its cache can't be meant."""
    return {"y": 1}


def flow_of(block: Any) -> asyncblock.Flow:
    flow = asyncblock.Flow("doubling")
    flow.output("y", flow.node(block, {"x": flow.input("x")})["y"])
    return flow


async def test_a_block_in_python_code_is_cached_when_it_says_so() -> None:
    calls.clear()
    for given in (1, 1, 2, 1):
        assert await flow_of(double).run({"x": given}) == {"y": 2 * given}
    assert calls == [1, 2]
    with pytest.raises(InvalidFlow, match="'ttl' in 'cache' is a time"):
        flow_of(wrong).plan()


async def test_a_function_inside_of_another_one_is_not_cached() -> None:
    def made(factor: int) -> Any:
        @asyncblock.block(cache=True)
        async def multiply(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
            return {"y": factor * inputs["x"]}

        return multiply

    assert await flow_of(made(3)).run({"x": 2}) == {"y": 6}
    assert await flow_of(made(4)).run({"x": 2}) == {"y": 8}


async def test_each_job_of_a_node_has_its_own_result(root: Path) -> None:
    """And two sessions at once, which make the same results, do each other no harm."""
    block(root, "count", "", "n", "def main(inputs, ctx):\n    for n in range(5):\n        ctx.output(n % 3, 'n')\n")
    block(root, "square", "n", "y", counting(root, "return {'y': inputs['n'] ** 2}"), CACHED)
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: count, task: self::count}
          - node_id: square
            task: self::square
            concurrency: 5
            inputs_from: [{handle: n, from_node: [{node_id: count, output_handle: n}]}]
        """,
    )
    async with asyncblock.embedded() as mainframe:

        async def squares() -> list[Any]:
            session = await mainframe.start(path)
            found = [event async for event in session]
            assert end_of(found).state == "succeeded", end_of(found).error
            ends = all_of(found, events.BlockFinished)
            return sorted(event.result["y"] for event in ends if event.node_id == "square")

        assert await asyncio.gather(*(squares() for _ in range(4))) == [[0, 0, 1, 1, 4]] * 4
    ran(root)
    found = await run(path)
    assert states(found) == ["hit"] * 5
    assert ran(root) == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("yes", "'cache' is true, false, or a mapping"),
        ({"ttl": "soon"}, "'ttl'"),
        ({"ttl": 0}, "'ttl'"),
        ({"ttl": True}, "'ttl'"),
        ({"version": [1]}, "'version'"),
        ({"tll": 1}, "no 'tll'"),
    ],
)
def test_a_cache_that_cannot_be_meant_is_refused(root: Path, given: Any, words: str) -> None:
    assert words in (cache_problem(given) or "")
    path = single(root, "pass", more=f"cache: {given}\n")
    with pytest.raises(InvalidFlow, match=words.replace("[", "\\[")):
        load_flow(path, inputs={"x": 1})


def test_blocks_that_refuse_it_and_shell_commands_are_left_out_of_a_cache_for_all(root: Path) -> None:
    block(root, "a", "", "y")
    block(root, "never", "", "y", more="cache: false\n")
    path = write(
        root / "flows/f/flow.oo.yaml",
        """
        nodes:
          - {node_id: a, task: self::a}
          - {node_id: never, task: self::never}
          - {node_id: shell, task: {executor: {name: shell}}, inputs_from: [{handle: command, value: date}]}
        """,
    )
    plan = with_cache(load_flow(path))
    assert {node.node_id: bool(node.block.get("cache")) for node in plan.nodes} == {
        "a": True,
        "never": False,
        "shell": False,
    }
