"""Classes with named fields as inputs and results: dataclasses, TypedDicts, named tuples, pydantic, msgspec, attrs."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import typing_extensions

import asyncblock
from asyncblock import Body, Context, SyncContext, Var
from asyncblock.block import AnyBlock, bind
from asyncblock.errors import InvalidInputs
from asyncblock.shapes import handles_of, kind_of
from asyncblock.testing import run_block

from ..flows import end_of
from ..flows import run_block as run_file

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


MAKERS: set[int] = set()
"""Threads on which a ``Noting`` was made."""


@dataclasses.dataclass
class Noting(Point):
    def __post_init__(self) -> None:
        MAKERS.add(threading.get_ident())


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


# ---------------------------------------------------------------------- one class for each kind, with the same fields


@dataclasses.dataclass
class AsDataclass:
    number: int
    points: list[Point]
    names: dict[str, int] = dataclasses.field(default_factory=dict)


class AsTypedDict(TypedDict):
    number: int
    points: list[Point]
    names: NotRequired[dict[str, int]]


class AsOtherTypedDict(typing_extensions.TypedDict):
    number: int
    points: list[Point]
    names: typing_extensions.NotRequired[dict[str, int]]


class AsNamedTuple(NamedTuple):
    number: int
    points: list[Point]
    names: dict[str, int] = {}  # noqa: RUF012


class AsModel(pydantic.BaseModel):
    number: int
    points: list[Point]
    names: dict[str, int] = {}


@pydantic.dataclasses.dataclass
class AsPydanticDataclass:
    number: int
    points: list[Point]
    names: dict[str, int] = dataclasses.field(default_factory=dict)


class AsStruct(msgspec.Struct):
    number: int
    points: list[Point]
    names: dict[str, int] = {}


@attrs.define
class AsAttrs:
    number: int
    points: list[Point]
    names: dict[str, int] = attrs.field(factory=dict)


KINDS: list[Any] = [
    AsDataclass, AsTypedDict, AsOtherTypedDict, AsNamedTuple, AsModel, AsPydanticDataclass, AsStruct, AsAttrs,
]  # fmt: skip
every_kind = pytest.mark.parametrize("cls", KINDS, ids=lambda cls: cls.__name__)


def block_of(cls: Any, *, sync: bool = False) -> AnyBlock:
    """Return a block that takes one and returns one."""

    async def main(inputs: Any, ctx: Any) -> Any:
        assert type(inputs) is (dict if issubclass(cls, dict) else cls), type(inputs)
        fields = handles_of(inputs)
        assert fields is not None and all(type(point) is Point for point in fields["points"])
        return cls(**{**fields, "number": fields["number"] + 1})

    def main_sync(inputs: Any, ctx: Any) -> Any:
        coroutine = main(inputs, ctx)
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        return ended.value.value

    made: Any = main_sync if sync else main
    made.__annotations__.update(inputs=cls, ctx=SyncContext if sync else Context)
    made.__annotations__["return"] = cls
    return asyncblock.block(made)


@every_kind
def test_the_handles_are_the_fields_of_the_class(cls: Any) -> None:
    made = block_of(cls)
    assert made.inputs_def is not None and made.outputs_def is not None
    assert [(each["handle"], each["json_schema"]) for each in made.outputs_def] == [
        ("number", {"type": "integer"}),
        ("points", {"type": "array"}),
        ("names", {"type": "object"}),
    ]
    *required, names = made.inputs_def
    assert not any("value" in each or "nullable" in each for each in required)
    assert names["nullable"] is True if issubclass(cls, dict) else names["value"] == {}


@every_kind
@pytest.mark.parametrize("sync", [False, True])
async def test_an_input_annotated_with_a_class_is_one_and_one_may_be_returned(cls: Any, sync: bool) -> None:
    made = block_of(cls, sync=sync)
    result = await run_block(made, {"number": 1, "points": [{"x": 1, "y": 0.5}, {"x": 2, "y": 3}]})
    assert result.error is None
    points = [{"x": 1, "y": 0.5}, {"x": 2, "y": 3.0}]
    assert {name: result.outputs[name] for name in ("number", "points")} == {"number": 2, "points": points}
    assert result.outputs.get("names", {}) == {}


@every_kind
async def test_what_does_not_fit_fails_the_job_and_names_the_field(cls: Any) -> None:
    result = await run_block(block_of(cls), {"number": 1, "points": [{"x": 1}, {"x": "two"}]}, check=False)
    assert result.state == "failed"
    assert result.error is not None and result.error.startswith("InvalidInputs: the inputs of block_of.<locals>.main")
    assert f"make a {cls.__qualname__}: input 'points': at [1].x: " in result.error
    for word in ("int", "str"):
        assert word in result.error


@every_kind
async def test_a_required_field_that_is_missing_in_the_middle_is_named(cls: Any) -> None:
    result = await run_block(block_of(cls), {"number": 1, "points": [{"y": 1}]}, check=False)
    assert result.error is not None and "input 'points': at [0]" in result.error and "x" in result.error


async def test_a_class_goes_from_block_to_block() -> None:
    class Summary(NamedTuple):
        total: Point
        colors: list[Color]
        when: datetime.datetime

    @asyncblock.block
    async def first(inputs: Point) -> Summary:
        return Summary(inputs, [Color.RED, Color.BLUE], datetime.datetime(2026, 1, 2, 3, 4, 5))

    @asyncblock.block
    def second(inputs: Summary) -> dict[str, Any]:
        assert inputs == Summary(Point(1, 2.0), [Color.RED, Color.BLUE], datetime.datetime(2026, 1, 2, 3, 4, 5))
        return {"x": inputs.total.x}

    flow = asyncblock.Flow("two")
    made = flow.node(first, {"x": 1, "y": 2})
    read = flow.node(second, {name: made[name] for name in Summary._fields})
    flow.output("x", read["x"])
    assert await flow.run() == {"x": 1}


async def test_a_block_in_a_file_takes_and_returns_a_class(tmp_path: Path) -> None:
    source = """
        from __future__ import annotations
        import dataclasses
        @dataclasses.dataclass
        class Out:
            out: list[Part]
        @dataclasses.dataclass
        class Part:
            n: int
        async def main(ctx) -> Out:
            return Out([Part(1)])
    """
    found = await run_file(tmp_path, source)
    assert end_of(found).error is None
    [finished] = [event for event in found if isinstance(event, asyncblock_finished())]
    assert finished.result == {"out": [{"n": 1}]}


def asyncblock_finished() -> Any:
    from asyncblock import events

    return events.BlockFinished


async def test_outputs_and_finish_take_one_too() -> None:
    @asyncblock.block
    async def main(ctx: Context) -> Point:
        await ctx.outputs(Point(1, 2.0))
        await ctx.finish(Point(3, 4.0))
        raise AssertionError("it is finished")

    result = await run_block(main)
    assert result.values == [("x", 1), ("y", 2.0), ("x", 3), ("y", 4.0)]


# ---------------------------------------------------------------------- values and annotations


def fitted(kind: Any, value: Any) -> Any:
    """Make a value fit as an input's field would."""
    cls = dataclasses.make_dataclass("Inputs", [("field", kind)])

    def main(inputs: Any) -> Any:
        return inputs.field

    main.__annotations__["inputs"] = cls
    return bind(main)({"field": value}, None)


class Deep(TypedDict):
    inner: NotRequired[list[Deep]]


class Name(str):
    pass


class Frame:
    def __repr__(self) -> str:
        return "Frame()"


FRAME = Frame()


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (int, 3, 3),
        (int, 3.0, 3),
        (float, 3, 3.0),
        (str, "x", "x"),
        (bool, True, True),
        (int | None, None, None),
        (int | str, "x", "x"),
        (float | int, 1, 1),
        (Point | list[Point], [{"x": 1}], [Point(1)]),
        (Literal["a", 1], 1, 1),
        (Literal[Color.RED], "red", Color.RED),
        (Color, "blue", Color.BLUE),
        (tuple[int, str], [1, "x"], (1, "x")),
        (tuple[Point, ...], [{"x": 1}], (Point(1),)),
        (tuple[()], [], ()),
        (set[int], [1, 2, 2], {1, 2}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (collections.deque[int], [1], collections.deque([1])),
        (Sequence[Point], [{"x": 1}], [Point(1)]),
        (Mapping[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
        (dict[int, str], {"1": "x"}, {1: "x"}),
        (dict[Color, int], {"red": 1}, {Color.RED: 1}),
        (datetime.datetime, "2026-01-02T03:04:05+00:00", datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)),
        (datetime.date, "2026-01-02", datetime.date(2026, 1, 2)),
        (datetime.time, "03:04:05", datetime.time(3, 4, 5)),
        (datetime.timedelta, 1.5, datetime.timedelta(seconds=1.5)),
        (uuid.UUID, "12345678123456781234567812345678", uuid.UUID(int=0x12345678123456781234567812345678)),
        (PurePosixPath, "a/b", PurePosixPath("a/b")),
        (decimal.Decimal, 1.1, decimal.Decimal("1.1")),
        (bytearray, b"x", bytearray(b"x")),
        (Name, "x", Name("x")),
        (Frame, FRAME, FRAME),
        (Annotated[list[int], Var], value := ["kept as it is"], value),
        (Annotated[float, Var], 1, 1.0),
        (Any, FRAME, FRAME),
        (list, [FRAME], [FRAME]),
        (Deep, {"inner": [{}, {"inner": []}]}, {"inner": [{}, {"inner": []}]}),
        ("Unknown", FRAME, FRAME),
        ("nowhere.Unknown | None", FRAME, FRAME),
    ],
    ids=str,
)
def test_values_fit_their_annotations(kind: Any, value: Any, fits: Any) -> None:
    found = fitted(kind, value)
    assert found == fits and type(found) is type(fits)
    if kind is Frame or isinstance(fits, Frame) or value == ["kept as it is"]:
        assert found is value


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, "3", "input 'field': expected int, got str"),
        (int, True, "expected int, got bool"),
        (int, 3.5, "expected int, got float"),
        (float, None, "got null .which NaN travels as"),
        (float, 10**400, "too large"),
        (str, 3, "expected str, got int"),
        (bool, 1, "expected bool, got int"),
        (int | str, None, "expected int | str, got null"),
        (Literal["a", 1], True, "expected 'a' or 1, got bool"),
        (Color, "green", "no Color has this value; there are 'red', 'blue'"),
        (list[int], "12", "expected an array, got str"),
        (list[int], [1, "x"], r"input 'field': at \[1\]: expected int, got str"),
        (tuple[int, str], [1], "expected 2 items, got 1"),
        (set[Any], [[]], "unhashable"),
        (dict[str, int], {"a": "x"}, r"at \['a'\]: expected int"),
        (dict[int, int], {"a": 1}, "the key doesn't fit"),
        (dict[str, int], [1], "expected an object, got list"),
        (Point, {"x": 1, "z": 2}, "at z: there is no such field"),
        (Point, [1, 2], "expected Point, got list"),
        (Deep, {"inner": [{}, {"inner": 3}]}, r"at inner\[1\]\.inner: expected an array"),
        (datetime.date, "yesterday", "it is no date"),
        (uuid.UUID, 3, "expected UUID as text, got int"),
        (Frame, {}, "expected Frame, got dict"),
        (Body, b"", "expected Body, got bytes"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_with_its_place(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(InvalidInputs, match=words.replace("|", r"\|")) as caught:
        fitted(kind, value)
    assert list(caught.value.problems) == ["field"]


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    @asyncblock.block
    def main(inputs: AsDataclass) -> None: ...

    with pytest.raises(InvalidInputs) as caught:
        bind(main.fn)({"points": [{"x": "a"}], "names": 1, "more": 2}, None)
    assert caught.value.problems == {
        "number": "missing",
        "points": "at [0].x: expected int, got str",
        "names": "expected an object, got int",
        "more": "there is no such field",
    }


def test_values_are_not_told_for_they_may_be_secrets() -> None:
    for cls in KINDS:
        with pytest.raises(InvalidInputs) as caught:
            bind(block_of(cls).fn)({"number": "hunter2", "points": []}, None)
        assert "hunter2" not in str(caught.value)


def test_what_a_class_says_itself_is_told_with_the_place_and_its_traceback() -> None:
    @dataclasses.dataclass
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n < 0:
                raise ValueError("it is negative")

    with pytest.raises(InvalidInputs, match=r"at \[1\]: ValueError: it is negative") as caught:
        fitted(list[Positive], [{"n": 1}, {"n": -1}])
    assert isinstance(caught.value.__cause__, ValueError)

    @attrs.define
    class Small:
        n: int = attrs.field(validator=attrs.validators.lt(10))
        text: str = attrs.field(converter=str, default="")

    assert fitted(Small, {"n": 1, "text": 5}) == Small(1, "5")
    with pytest.raises(InvalidInputs, match="'n' must be < 10"):
        fitted(Small, {"n": 11})


def test_defaults_that_json_has_not_are_the_classes_own_affair() -> None:
    @dataclasses.dataclass
    class Options:
        path: Path = Path("here")
        color: Color = Color.RED
        numbers: list[int] = dataclasses.field(default_factory=lambda: [1])
        limit: float = float("inf")
        made: dataclasses.InitVar[int] = 4
        later: int = dataclasses.field(init=False, default=0)

        def __post_init__(self, made: int) -> None:
            self.later = made

    @asyncblock.block
    def main(inputs: Options) -> Options:
        return inputs

    assert main.inputs_def is not None and main.outputs_def is not None
    assert [(each["handle"], each.get("value"), each.get("nullable")) for each in main.inputs_def] == [
        ("path", None, True),
        ("color", None, True),
        ("numbers", None, True),
        ("limit", None, True),
        ("made", 4, None),
    ]
    assert [each["handle"] for each in main.outputs_def] == ["path", "color", "numbers", "limit", "later"]
    nothing = dict.fromkeys(["path", "color", "numbers", "limit"])
    assert bind(main.fn)({**nothing, "made": 5}, None) == Options(made=5)


def test_aliases_are_the_names_of_handles() -> None:
    class Model(pydantic.BaseModel):
        kind: str = pydantic.Field(alias="type")

        @pydantic.computed_field  # type: ignore[prop-decorator]
        @property
        def loud(self) -> str:
            return self.kind.upper()

    class Struct(msgspec.Struct, rename="camel"):
        first_name: str

    @attrs.define
    class Attrs:
        _hidden: int = 0

    assert handles_of(Model(type="a")) == {"type": "a", "loud": "A"}
    assert handles_of(Struct("b")) == {"firstName": "b"}
    assert handles_of(Attrs(3)) == {"hidden": 3}
    assert (fitted(Model, Model(type="a")), fitted(Attrs, {"hidden": 2})) == (Model(type="a"), Attrs(2))

    @asyncblock.block
    def main(inputs: Model) -> Model:
        return inputs

    assert [[each["handle"] for each in defs or ()] for defs in (main.inputs_def, main.outputs_def)] == [
        ["type"],
        ["type", "loud"],
    ]
    assert bind(main.fn)({"type": "x"}, None) == Model(type="x")


async def test_an_annotation_that_cannot_be_resolved_spoils_no_other() -> None:
    @asyncblock.block
    def main(inputs: Point, ctx: SyncContext, more: Unknown | None = None) -> AsNamedTuple:
        return AsNamedTuple(inputs.x, [], {})

    assert main.outputs_def is not None and len(main.outputs_def) == 3
    assert (await run_block(main, {"x": 5})).outputs["number"] == 5


def test_a_body_is_asked_for_in_any_kind_of_class() -> None:
    class Model(pydantic.BaseModel, arbitrary_types_allowed=True):
        data: Body

    class Pair(NamedTuple):
        data: Body | None

    for cls in (Model, Pair):

        def main(inputs: Any) -> None: ...

        main.__annotations__["inputs"] = cls
        assert bind(main).bodies == {"data"}


def test_classes_without_named_fields_are_none() -> None:
    assert all(kind_of(each) is None for each in (int, dict, tuple, list, Frame, None, "x", Point(1)))
    assert handles_of((1, 2)) is None and handles_of(Point) is None


async def test_what_handles_say_explicitly_wins_over_annotations() -> None:
    inputs: list[dict[str, Any]] = [{"handle": "x", "nullable": True}, {"handle": "y"}]

    @asyncblock.block(inputs=inputs)
    async def as_dict(inputs: AsTypedDict) -> dict[str, Any]:
        return {"given": sorted(inputs)}

    @asyncblock.block(inputs=inputs)
    async def as_point(inputs: Point) -> dict[str, Any]:
        return {"given": dataclasses.asdict(inputs)}

    # Nothing can come for fields that are no handles.
    assert (await run_block(as_dict, {"x": None, "y": 1})).outputs == {"given": ["x", "y"]}
    assert (await run_block(as_point, {"x": None, "y": 1})).outputs == {"given": {"x": None, "y": 1.0}}
    assert "input 'y': expected float" in str((await run_block(as_point, {"x": None, "y": "1"}, check=False)).error)


async def test_large_inputs_are_made_off_the_loop() -> None:
    @dataclasses.dataclass
    class Rows:
        rows: list[Noting]

    @asyncblock.block
    async def give(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"rows": [{"x": n, "y": n / 2} for n in range(50_000)]}

    @asyncblock.block
    async def take(inputs: Rows) -> dict[str, Any]:
        made_here = threading.get_ident() in MAKERS
        assert (inputs.rows[-1].x, inputs.rows[-1].y) == (49_999, 24_999.5)
        return {"n": len(inputs.rows), "made_here": made_here}

    MAKERS.clear()
    flow = asyncblock.Flow("large")
    taken = flow.node(take, {"rows": flow.node(give, {})["rows"]})
    flow.output("n", taken["n"])
    flow.output("made_here", taken["made_here"])
    assert await flow.run() == {"n": 50_000, "made_here": False}
    assert MAKERS
