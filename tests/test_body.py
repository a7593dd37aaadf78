"""Large values at both ends: bytes that arrive as files, and limits that are known before anything is converted."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import pandas
import pytest

import asyncblock
from asyncblock import Bin, Body, Context, SyncContext, events
from asyncblock.block import bind
from asyncblock.context.payloads import raw_pieces
from asyncblock.errors import Closed
from asyncblock.runtime.scratch import Scratch, root
from asyncblock.testing import run_block
from asyncblock.values import least_size

from .flows import all_of, end_of, handle_def, node, run_flow, started, write_flow
from .flows import run_block as flow_block

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTyping

BIN = "oomol/bin"
DATA = bytes(range(256)) * 12_000


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "bodies"))
    return tmp_path / "bodies"


def left(directory: Path) -> list[Path]:
    """Return the files of jobs; by the token of the depot processes of a host know each other."""
    return [path for path in directory.rglob("*") if path.is_file() and path.name != "host"]


# ---------------------------------------------------------------------- which inputs


class Typed(TypedDict):
    a: Body
    b: Body | None
    c: NotRequired[Annotated[Body, "large"]]
    d: bytes
    e: list[Body]


@dataclass
class Fields:
    a: Body
    b: Annotated[bytes, Bin] | None = None


class HalfResolved(TypedDict):
    a: Body
    b: OnlyForTyping


@pytest.mark.parametrize(
    ("annotation", "found"),
    [(Typed, {"a", "b", "c"}), (Fields, {"a"}), (HalfResolved, {"a"}), (dict, set()), (Any, set())],
    ids=["typed dict", "dataclass", "half resolved", "dict", "any"],
)
def test_fields_annotated_as_body_are_found(annotation: Any, found: set[str]) -> None:
    def main(inputs: Any, ctx: Context) -> None: ...

    main.__annotations__["inputs"] = annotation
    assert bind(main).bodies == found


def test_a_field_annotated_as_body_is_a_handle_for_bytes() -> None:
    @asyncblock.block
    async def main(inputs: Fields, ctx: Context) -> None: ...

    assert main.inputs_def is not None
    assert main.inputs_def[0] == {"handle": "a", "json_schema": {"contentMediaType": BIN}}


# ---------------------------------------------------------------------- through a mainframe

SENDS = """
async def main(inputs, ctx):
    await ctx.output(bytes(range(256)) * %d, "out")
"""

TAKES = {
    "async, a TypedDict": """
        import hashlib
        from typing import TypedDict
        import asyncblock

        class Inputs(TypedDict):
            data: asyncblock.Body

        async def main(inputs: Inputs, ctx: asyncblock.Context):
            body = inputs["data"]
            first = await body.read(10)
            pieces = [piece async for piece in body]
            assert await body.read() == b""
            assert body.path.read_bytes() == first + b"".join(pieces)
            assert max(map(len, pieces), default=0) <= 1 << 20
            return {"sum": hashlib.sha256(first + b"".join(pieces)).hexdigest(), "size": [len(body), body.size],
                    "path": str(body.path)}
        """,
    "async, a dataclass": """
        import hashlib
        from dataclasses import dataclass
        import asyncblock

        @dataclass
        class Inputs:
            data: asyncblock.Body | None

        async def main(inputs: Inputs):
            whole = await inputs.data.read()
            inputs.data.seek(5)
            assert await inputs.data.read(5) == whole[5:10]
            return {"sum": hashlib.sha256(whole).hexdigest(), "size": [len(whole), inputs.data.size],
                    "path": str(inputs.data.path)}
        """,
    "a def block": """
        import hashlib
        from typing import TypedDict
        from asyncblock import Body

        class Inputs(TypedDict):
            data: Body

        def main(inputs: Inputs, ctx):
            with inputs["data"].open() as file:
                whole = file.read()
            return {"sum": hashlib.sha256(whole).hexdigest(), "size": [len(whole), inputs["data"].size],
                    "path": str(inputs["data"].path)}
        """,
}


def two(directory: Path, sends: str, takes: str, media_type: str | None = BIN) -> Path:
    source = node("a", sends, directory, outputs=[handle_def("out", media_type)])
    taker = node(
        "b",
        takes,
        directory,
        inputs=[handle_def("data", media_type)],
        outputs=["sum", "size", "path"],
        inputs_from=[{"handle": "data", "from_node": [{"node_id": "a", "output_handle": "out"}]}],
    )
    outputs = [{"handle": h, "from_node": [{"node_id": "b", "output_handle": h}]} for h in ("sum", "size", "path")]
    return write_flow(directory, [source, taker], outputs_from=outputs)


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("repeats", [0, 1, 12_000], ids=["empty", "small", "3 MB"])
async def test_bytes_arrive_as_a_file_where_the_input_is_annotated_so(
    tmp_path: Path, scratch: Path, name: str, repeats: int
) -> None:
    end = end_of(await run_flow(two(tmp_path, SENDS % repeats, TAKES[name])))
    data = bytes(range(256)) * repeats
    assert end.state == "succeeded", end.error
    assert end.outputs["sum"] == hashlib.sha256(data).hexdigest()
    assert end.outputs["size"] == [len(data), len(data)]
    assert Path(end.outputs["path"]).is_relative_to(scratch)
    assert left(scratch) == []


async def test_the_file_goes_with_its_job_however_that_ends(tmp_path: Path, scratch: Path) -> None:
    takes = TAKES["a def block"].replace(
        "return", "raise ValueError(inputs['data'].path.stat().st_size)\n            return"
    )
    end = end_of(await run_flow(two(tmp_path, SENDS % 12_000, takes)))
    assert "ValueError: 3072000" in (end.error or "")
    assert left(scratch) == []


@pytest.mark.parametrize("value", ["'text'", "'x' * 100_000"], ids=["small", "large"])
async def test_json_for_an_input_annotated_as_body_is_said_to_be_wrong(tmp_path: Path, value: str) -> None:
    sends = f"async def main(inputs, ctx):\n    await ctx.output({value}, 'out')\n"
    end = end_of(await run_flow(two(tmp_path, sends, TAKES["a def block"], media_type=None)))
    assert "input 'data' is annotated as Body, but JSON came for it" in (end.error or "")


async def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASYNCBLOCK_BODIES_DIR", str(tmp_path / "file"))
    end = end_of(await run_flow(two(tmp_path / "flow", SENDS % 12_000, TAKES["a def block"])))
    assert "input 'data' of 3072000 bytes can't be put into a file" in (end.error or "")
    assert "ASYNCBLOCK_BODIES_DIR" in (end.error or "")


async def test_none_stays_none(tmp_path: Path) -> None:
    @asyncblock.block(inputs=[{**handle_def("data", BIN), "nullable": True}], outputs=[{"handle": "out"}])
    async def main(inputs: Typed) -> dict[str, Any]:
        return {"out": inputs["data"]}  # type: ignore[typeddict-item]

    result = await run_block(main, {"data": None})
    assert result.outputs == {"out": None}, result.error


async def test_a_body_is_sent_on_as_it_is(tmp_path: Path, scratch: Path) -> None:
    hands_on = """
    from typing import TypedDict
    import asyncblock

    class Inputs(TypedDict):
        data: asyncblock.Body

    {define} main(inputs: Inputs, ctx):
        {wait}ctx.output(inputs["data"], "out")
        return {{"out": inputs["data"]}}
    """
    data = [handle_def("data", BIN)]
    nodes = [node("a", SENDS % 12_000, tmp_path, outputs=[handle_def("out", BIN)])]
    for before, name, form in (("a", "b", "async def"), ("b", "c", "def")):
        source = [{"handle": "data", "from_node": [{"node_id": before, "output_handle": "out"}]}]
        wait = "await " if form == "async def" else ""
        block = hands_on.format(define=form, wait=wait)
        nodes.append(node(name, block, tmp_path, inputs=data, outputs=[handle_def("out", BIN)], inputs_from=source))
    async with started(write_flow(tmp_path, nodes)) as session:
        found = [event async for event in session]
        assert end_of(found).state == "succeeded", end_of(found).error
        sent = [event for event in all_of(found, events.BlockOutput) if event.node_id == "c"]
        finished = [event for event in all_of(found, events.BlockFinished) if event.node_id == "c"]
        assert (len(sent), len(finished)) == (2, 2)
        for ref in (sent[0].body, finished[0].bodies["out"]):
            assert ref is not None
            assert ref.encoding == "raw"
            assert await session.fetch(ref) == DATA
    assert left(scratch) == []


async def test_a_body_for_another_handle_is_said_to_be_wrong(tmp_path: Path) -> None:
    source = """
    import asyncblock

    async def main(inputs, ctx):
        try:
            await ctx.output({"files": [asyncblock.Body(__file__)]}, "out")
        except asyncblock.UnserializableValue as error:
            return {"out": str(error)}
    """
    end = end_of(await flow_block(tmp_path, source))
    assert "files[0]" in end.outputs["out"]
    assert "declare the handle as oomol/bin" in end.outputs["out"]


# ---------------------------------------------------------------------- a body by itself


async def test_a_body_reads_on_where_the_last_read_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    body = Body(path)
    assert (body.size, len(body), bool(body)) == (len(DATA), len(DATA), True)
    assert await body.read(100) == DATA[:100]
    assert b"".join([piece async for piece in body]) == DATA[100:]
    body.seek(0)
    assert await body.read() == DATA
    with pytest.raises(ValueError, match="-1"):
        body.seek(-1)


async def test_tasks_that_read_a_body_at_once_share_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    body = Body(tmp_path / "file")
    read = await asyncio.gather(body.read(10), body.read(10), body.read(5))
    assert tuple(read) == (DATA[:10], DATA[10:20], DATA[20:25])
    body.seek(0)
    found: list[bytes] = []

    async def take() -> None:
        found.extend([piece async for piece in body])

    await asyncio.gather(take(), take())
    assert sorted(found, key=len) == [DATA[len(DATA) >> 20 << 20 :], *[DATA[: 1 << 20]] * (len(DATA) >> 20)]


async def test_a_body_that_is_set_back_while_it_is_read_reads_from_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    body = Body(tmp_path / "file")
    reading = asyncio.create_task(body.read(10))
    await asyncio.sleep(0)
    body.seek(100)
    assert await reading == DATA[:10]
    assert await body.read(2) == DATA[100:102]


async def test_a_body_says_when_its_job_has_ended(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    body = Body(tmp_path / "file")
    body.end("the job has ended")
    with pytest.raises(Closed, match="the job has ended"):
        await body.read()
    with pytest.raises(Closed, match="copy in time"):
        body.open()


def test_what_a_killed_process_left_goes_with_the_next(scratch: Path) -> None:
    code = """
    import os, signal
    from asyncblock.runtime.scratch import Scratch
    Scratch().new_path().write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
    """
    living = Scratch()
    living.new_path().write_bytes(b"kept")
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert sum(path.name == "1" for path in left(scratch)) == 2
    other = Scratch()
    other.new_path()
    assert [path.read_bytes() for path in left(scratch) if path.name == "1"] == [b"kept"]
    living.close()
    other.close()
    assert list(scratch.iterdir()) == []


def test_scratch_files_have_a_place_where_the_user_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ASYNCBLOCK_BODIES_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert root() == tmp_path / "asyncblock" / "bodies"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert root().is_dir()


# ---------------------------------------------------------------------- the limit, before anything is converted


class Unconvertible(TypedDict):
    kind: str


LARGE = {
    "text": ("'x' * 300_000_000", 300_000_000, None),
    "bytes": ("bytes(300_000_000)", 300_000_000, BIN),
    "a bytearray": ("bytearray(300_000_000)", 300_000_000, BIN),
    "a memoryview": ("memoryview(bytearray(320_000_000)).cast('d')", 320_000_000, BIN),
    "an array": ("numpy.empty(40_000_000)", 320_000_000, None),
    "an array of constants": ("numpy.empty(60_000_000, dtype=bool)", 300_000_000, None),
    "an array in a dict": ("{'rows': numpy.empty((2, 20_000_000)), 'name': 'x'}", 320_000_000, None),
    "a frame": ("pandas.DataFrame({'a': numpy.empty(40_000_000)}, copy=False)", 320_000_000, None),
    "a series": ("pandas.Series(numpy.empty(40_000_000), copy=False)", 320_000_000, None),
}

REFUSED = """
import tracemalloc
import numpy, pandas
from asyncblock import PayloadTooLarge

{define} main(inputs, ctx):
    value = {value}
    tracemalloc.start()
    try:
        {wait}ctx.output(value, "out")
    except PayloadTooLarge as error:
        words = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {{"more": [words, peak]}}
"""


@pytest.mark.parametrize("define", ["async def", "def"])
@pytest.mark.parametrize("kind", LARGE)
async def test_a_value_over_the_limit_is_refused_before_anything_of_it_is_converted(
    tmp_path: Path, kind: str, define: str
) -> None:
    value, size, media_type = LARGE[kind]
    source = REFUSED.format(define=define, value=value, wait="await " if define == "async def" else "")
    outputs = [handle_def("out", media_type), handle_def("more")]
    flow = write_flow(
        tmp_path,
        [node("n", source, tmp_path, outputs=outputs)],
        outputs_from=[{"handle": "more", "from_node": [{"node_id": "n", "output_handle": "more"}]}],
    )
    end = end_of(await run_flow(flow))
    assert end.state == "succeeded", end.error
    words, peak = end.outputs["more"]
    assert "'out'" in words
    assert str(256 << 20) in words
    [named] = [int(word) for word in words.split() if word.isdecimal() and int(word) > 256 << 20]
    assert size <= named < size + 1000
    assert peak < 1 << 20


@pytest.mark.parametrize(
    "value",
    [1, None, [1] * 5000, {"a": ["x" * 100]}, ("a", "b"), {1, 2}, object()],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_told_beforehand_is_not_guessed(value: object) -> None:
    assert least_size(value) <= 2


@pytest.mark.parametrize(
    "value",
    [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        memoryview(DATA).cast("i"),
        memoryview(DATA * 2)[::2],
        memoryview(DATA).cast("i")[::3],
        memoryview(DATA).cast("B", (1000, len(DATA) // 1000)),
        b"",
    ],
    ids=["bytes", "bytearray", "view", "ints", "every second byte", "every third int", "matrix", "empty"],
)
def test_whatever_is_like_bytes_is_cut_into_blocks(value: bytes | bytearray | memoryview) -> None:
    pieces = list(raw_pieces(value))
    assert b"".join(pieces) == memoryview(value).tobytes()
    assert max(map(len, pieces), default=0) <= 64 << 10


def test_a_very_wide_frame_is_not_asked_for_its_size() -> None:
    assert least_size(pandas.DataFrame([[1.0] * 5000])) == 0
    assert least_size(pandas.DataFrame({"a": [1.0] * 5000})) >= 40_000


async def test_sync_and_async_blocks_in_code_get_bodies() -> None:
    @asyncblock.block(outputs=[handle_def("out", BIN)])
    async def makes(inputs: Mapping[str, Any], ctx: Context) -> None:
        await ctx.output(DATA, "out")

    @asyncblock.block(outputs=[{"handle": "n"}])
    def takes(inputs: Fields, ctx: SyncContext) -> dict[str, Any]:
        return {"n": inputs.a.size}

    flow = asyncblock.Flow("bodies")
    flow.output("n", flow.node(takes, inputs={"a": flow.node(makes)["out"]})["n"])
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(flow)
        assert (await session.wait()).outputs["n"] == len(DATA)
