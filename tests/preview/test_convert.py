from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from asyncblock.context.payloads import preview_words
from asyncblock.errors import LocalProtocolError, PreviewFailed, UnserializableValue
from asyncblock.preview import Limits, Making, default_limits, register, set_default_limits
from asyncblock.preview.registry import Kind
from asyncblock.runtime.offload import Abandoned

from .showing import show

PNG = b"\x89PNG\r\n\x1a\n"


class Offers:
    """Offers to Jupyter what it is told to."""

    def __repr__(self) -> str:
        return "<offers>"


def offering(**methods: Any) -> Any:
    def answering(made: Any) -> Any:
        def method(self: object, **_: object) -> Any:
            if isinstance(made, Exception):
                raise made
            return made

        return method

    return type("Offers", (Offers,), {f"_repr_{name}_": answering(made) for name, made in methods.items()})()


SVG = "data:image/svg+xml;base64,PHN2Zy8+"
URL = "data:image/png;base64,iVBORw0KGgo="

PAYLOADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("x", {"type": "text", "data": "x"}),
    "number": (3, {"type": "json", "data": 3}),
    "nothing": (None, {"type": "json", "data": None}),
    "dict": ({"a": [1]}, {"type": "json", "data": {"a": [1]}}),
    "tuple": ((1, 2), {"type": "json", "data": [1, 2]}),
    "typed": ({"type": "video", "data": "u"}, {"type": "video", "data": "u"}),
    "typed with more": ({"type": "text/x", "data": 1, "k": 2}, {"type": "text/x", "data": 1, "k": 2}),
    "made table": (
        {"type": "table", "data": {"columns": ["a"], "rows": [[1]]}},
        {"type": "table", "data": {"columns": ["a"], "rows": [[1]]}},
    ),
    "table file": ({"type": "table", "data": "/x.csv"}, {"type": "table", "data": "/x.csv"}),
    "images": ({"type": "image", "data": ["u", "v"]}, {"type": "image", "data": ["u", "v"]}),
    "object": (Offers(), {"type": "text", "data": "<offers>"}),
    "class": (Offers, {"type": "text", "data": repr(Offers)}),
    "html": (offering(html="<b>"), {"type": "html", "data": "<b>", "mime_type": "text/html"}),
    "svg": (offering(svg="<svg/>"), {"type": "image", "data": SVG, "mime_type": "image/svg+xml"}),
    "png": (offering(png=PNG), {"type": "image", "data": URL, "mime_type": "image/png"}),
    "markdown": (offering(markdown="# x"), {"type": "markdown", "data": "# x", "mime_type": "text/markdown"}),
    "json": (offering(json={"a": 1}), {"type": "json", "data": {"a": 1}, "mime_type": "application/json"}),
    "latex": (offering(latex="$x$"), {"type": "text", "data": "$x$", "mime_type": "text/latex"}),
    "several": (
        offering(png=PNG, html="<b>", markdown="b"),
        {
            "type": "html",
            "data": "<b>",
            "mime_type": "text/html",
            "mime": {"image/png": "iVBORw0KGgo=", "text/markdown": "b"},
        },
    ),
    "bundle": (
        offering(mimebundle=({"text/plain": "p", "application/x+json": {"a": 1}, "text/html": None}, {"meta": 1})),
        {"type": "text", "data": "p", "mime_type": "text/plain", "mime": {"application/x+json": {"a": 1}}},
    ),
    "bundle with a picture": (
        offering(mimebundle={"image/png": "iVBORw0KGgo="}),
        {"type": "image", "data": URL, "mime_type": "image/png"},
    ),
    "nothing offered": (offering(html=None, mimebundle=None), {"type": "text", "data": "<offers>"}),
    "one raises": (
        offering(html=ValueError("no"), markdown="m"),
        {"type": "markdown", "data": "m", "mime_type": "text/markdown"},
    ),
    "one too large": (
        offering(html="x" * 9_000_000, markdown="m"),
        {"type": "markdown", "data": "m", "mime_type": "text/markdown"},
    ),
    "a picture of another format": (
        offering(mimebundle={"image/gif": b"GIF89a;"}),
        {"type": "image", "data": "data:image/gif;base64,R0lGODlhOw==", "mime_type": "image/gif"},
    ),
    "a picture in lines": (
        offering(mimebundle={"image/png": "iVBO\nRw0K\nGgo=\n"}),
        {"type": "image", "data": URL, "mime_type": "image/png"},
    ),
    "a number for markup beside text": (
        offering(html=5, markdown="m"),
        {"type": "markdown", "data": "m", "mime_type": "text/markdown"},
    ),
    "a large number for a picture": (
        offering(svg=10**12, markdown="m"),
        {"type": "markdown", "data": "m", "mime_type": "text/markdown"},
    ),
    "one isn't JSON": (
        offering(json={"a": object()}, markdown="m\ud800"),
        {"type": "markdown", "data": "m\\ud800", "mime_type": "text/markdown"},
    ),
    "bytes": (
        b"\xff" * 200_000,
        {"type": "text", "data": ("bytes of 200000: " + repr(b"\xff" * 65536))[: 65536 + 17] + "..."},
    ),
    "many": (
        deque(range(70_000)),
        {"type": "text", "data": ("deque of 70000: " + repr([*range(65536)]))[: 65536 + 16] + "..."},
    ),
    "typed json": (
        {"type": "json", "data": list(range(20_000)), "k": 1},
        {"type": "json", "data": list(range(20_000)), "k": 1},
    ),
    "typed json, too large": (
        {"type": "json", "data": list(range(2_000_000)), "k": 1},
        {"type": "json", "data": list(range(996_929)), "k": 1, "note": "the first 996,929 of 2,000,000 items"},
    ),
    "made table, too large": (
        {"type": "table", "data": {"columns": ["a"], "rows": [[n] for n in range(1_000_000)]}},
        {
            "type": "table",
            "data": {
                "row_count": 1_000_000,
                "columns": ["a"],
                "rows": [*([n] for n in range(5)), ["..."], *([n] for n in range(999_995, 1_000_000))],
            },
        },
    ),
    "pair of images": ({"type": "image", "data": ("u", "v")}, {"type": "image", "data": ["u", "v"]}),
    "large json": (
        list(range(2_000_000)),
        {"type": "json", "data": list(range(996_929)), "note": "the first 996,929 of 2,000,000 items"},
    ),
}


@pytest.mark.parametrize(("payload", "made"), PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_shown(payload: Any, made: dict[str, Any]) -> None:
    assert show(payload) == made


def test_an_id_is_added_to_a_copy() -> None:
    payload = {"type": "text", "data": "x"}
    assert show(payload, id="i") == {"type": "text", "data": "x", "id": "i"}
    assert payload == {"type": "text", "data": "x"}


def test_what_offers_only_what_raises_fails_with_the_reason() -> None:
    with pytest.raises(PreviewFailed, match="its _repr_html_ raised ValueError: no"):
        show(offering(html=ValueError("no")))


def test_what_json_cannot_carry_is_named_by_its_path() -> None:
    with pytest.raises(UnserializableValue, match=r"data\.a"):
        show({"type": "json", "data": {"a": object()}})


class Wants:
    def _repr_mimebundle_(self, include: object, exclude: object) -> dict[str, str]:
        return {"text/plain": f"{include} {exclude}"}


def test_a_bundle_is_asked_for_as_ipython_does() -> None:
    assert show(Wants())["data"] == "None None"


class Ends:
    """Its methods raise what would end a job, or seem to cancel it."""

    def __init__(self, problem: BaseException) -> None:
        self._problem = problem

    def _repr_html_(self) -> str:
        raise self._problem


class Unspoken(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("problem", [SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), BaseException()])
async def test_whatever_a_value_raises_is_a_preview_that_failed(problem: BaseException) -> None:
    words = f"it raised {type(problem).__name__}"
    with pytest.raises(PreviewFailed, match=words):
        await Making(Ends(problem), None, None).finish()
    with pytest.raises(PreviewFailed, match=words):
        Making(Ends(problem), None, None).finish_blocking()
    with registered(Ends, lambda value, limits: value, take=lambda value, limits: value._repr_html_()):
        with pytest.raises(PreviewFailed, match=words):
            Making(Ends(problem), None, None)


def test_the_exception_that_ends_a_thread_passes_through() -> None:
    with pytest.raises(Abandoned):
        Making(Ends(Abandoned()), None, None).finish_blocking()


def test_an_exception_without_words_is_named() -> None:
    assert preview_words("Mine", Unspoken()) == "a preview of Mine failed: Unspoken"


async def test_a_conversion_that_hangs_is_given_up() -> None:
    go = threading.Event()
    with registered(Mine, lambda value, limits: str(go.wait(30))):
        try:
            with pytest.raises(PreviewFailed, match=r"it took longer than 0\.01 s"):
                await Making(Mine(), None, Limits(seconds=0.01)).finish()
        finally:
            go.set()


KEYS: dict[str, tuple[dict[Any, Any], list[str]]] = {
    "number and text": ({1: 0, "1": 1}, ["1", "1 (2)"]),
    "text and number": ({"1": 0, 1: 1}, ["1", "1 (2)"]),
    "nothing": ({float("nan"): 0, None: 1, pd.NaT: 2, "None": 3}, ["nan", "None", "NaT", "None (2)"]),
    "tuples": ({(1, 2): 0, "1 / 2": 1}, ["1 / 2", "1 / 2 (2)"]),
    "bytes": ({b"a": 0, b"b": 1}, ["b'a'", "b'b'"]),
    "truth": ({True: 0, (): 1}, ["true", ""]),
    "long": ({"x" * 10_000 + "a": 0, "x" * 10_000 + "b": 1, None: 2}, []),
}


@pytest.mark.parametrize(("value", "names"), KEYS.values(), ids=list(KEYS))
def test_no_member_is_lost_whose_key_has_the_text_of_another(value: dict[Any, Any], names: list[str]) -> None:
    made = show(value)["data"]
    assert len(made) == len(value) and list(made.values()) == list(value.values())
    assert not names or list(made) == names
    assert show(pd.DataFrame({"cell": [value]}))["data"]["rows"] == [[made]] or not names


def test_a_text_with_lone_surrogates_is_shown_whole_unless_it_is_long() -> None:
    # The names of files on Linux may have some.
    assert show("a\ud800b") == {"type": "text", "data": "a\\ud800b"}
    made = show("é" * 5 + "\ud800" * 100, bytes=15)
    assert made["data"] == "é" * 5 + "\\ud800..." and made["note"] == "the first 6 of 105 characters"


@pytest.mark.parametrize(
    ("id", "words"), [(5, "its id is a text, not int"), ("i" * 2000, "2,000 characters"), ("\ud800", "lone surrogates")]
)
def test_an_id_that_cannot_be_sent_is_refused(id: Any, words: str) -> None:
    with pytest.raises(PreviewFailed, match=words):
        Making("x", id, None)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Answering:
    """Has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: "anything"

    def __repr__(self) -> str:
        return "answering"


def test_an_object_whose_repr_raises_says_so() -> None:
    assert show(Unprintable())["data"] == "<Unprintable; its repr raises RuntimeError>"


def test_an_object_that_has_every_attribute_is_shown_by_its_repr() -> None:
    assert show(Answering()) == {"type": "text", "data": "answering"}


def test_texts_are_cut_at_their_limits() -> None:
    assert show("x" * 100, bytes=10) == {
        "type": "text",
        "data": "x" * 10 + "...",
        "note": "the first 10 of 100 characters",
    }
    assert show("é" * 100, bytes=11)["data"] == "é" * 5 + "..."
    assert show(Offers(), text=4)["data"] == "<off..."


# ---------------------------------------------------------------------- charts


def test_a_plotly_figure_becomes_html_with_its_specification() -> None:
    made = show(go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="line")))
    assert (made["type"], made["mime_type"]) == ("html", "text/html")
    assert "Plotly.newPlot" in made["data"] and len(made["data"]) < 100_000
    assert made["mime"]["application/vnd.plotly.v1+json"]["data"][0]["name"] == "line"


def test_a_plotly_figure_with_too_many_points_is_not_drawn() -> None:
    figure = go.Figure([go.Scatter(y=list(range(60))), go.Scatter(y=list(range(50)))])
    assert show(figure, points=100) == {
        "type": "text",
        "data": "a plotly figure of 110 points; the limit is 100 points",
    }
    assert show(figure, points=110)["type"] == "html"


NESTED: dict[str, tuple[Any, int]] = {
    "a grid": (go.Heatmap(z=[[1, 2, 3]] * 20), 60),
    "a grid of numpy's": (go.Heatmap(z=np.zeros((20, 3))), 60),
    "dimensions": (go.Parcoords(dimensions=[{"values": [1, 2, 3]}] * 20), 60),
    "columns": (go.Table(cells={"values": [["a", "b", "c"]] * 20}), 60),
    "one of many traces": ([go.Scatter(x=[1, 2, 3], y=[1, 2, 3])] * 20, 60),
}


@pytest.mark.parametrize(("traces", "points"), NESTED.values(), ids=NESTED)
def test_all_values_of_a_plotly_figure_count(traces: Any, points: int) -> None:
    made = show(go.Figure(traces), points=points - 1)
    assert made == {
        "type": "text",
        "data": f"a plotly figure of {points} points; the limit is {points - 1} points",
    }
    assert show(go.Figure(traces), points=points)["type"] == "html"


def test_the_frames_of_a_plotly_figure_count() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2]), frames=[go.Frame(data=[go.Scatter(y=[1, 2, 3])])] * 2)
    assert show(figure, points=7)["data"] == "a plotly figure of 8 points; the limit is 7 points"


def test_all_rows_of_an_altair_chart_count() -> None:
    data = alt.Data(values=[{"a": 1}, {"a": 2}])  # type: ignore[no-untyped-call]  # altair's
    chart = alt.Chart(data).mark_point().encode(x="a:Q")
    assert show(chart, points=1)["data"] == "a chart of 2 points; the limit is 1 points"
    several = alt.hconcat(chart, alt.layer(chart, alt.Chart(pd.DataFrame({"a": [1]})).mark_line().encode(x="a:Q")))
    assert show(several, points=4)["data"] == "a chart of 5 points; the limit is 4 points"
    assert show(several, points=5)["type"] == "html"


def test_an_altair_chart_becomes_html_with_its_specification() -> None:
    chart = alt.Chart(pd.DataFrame({"a": [1, 2]})).mark_point().encode(x="a:Q")
    made = show(chart)
    assert made["type"] == "html" and "vegaEmbed" in made["data"]
    media_type, specification = next(iter(made["mime"].items()))
    assert media_type.startswith("application/vnd.vegalite.v") and specification["mark"] == {"type": "point"}
    assert show(chart, points=1)["data"] == "a chart of 2 points; the limit is 1 points"


# ---------------------------------------------------------------------- the registry


class Mine:
    pass


class Heir(Mine):
    pass


@contextmanager
def registered(kind: Kind, *args: Any, **kwargs: Any) -> Iterator[None]:
    unregister = register(kind, *args, **kwargs)
    try:
        yield
    finally:
        unregister()


KINDS: dict[str, Kind] = {
    "type": Mine,
    "name": f"{__name__}.Mine",
    "predicate": lambda value: isinstance(value, Mine),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_registered_converter_shows_its_kind_and_heirs(kind: Kind) -> None:
    with registered(kind, lambda value, limits: {"type": "markdown", "data": f"{type(value).__name__} {limits.rows}"}):
        assert show(Mine(), rows=7) == {"type": "markdown", "data": "Mine 7"}
        assert show(Heir())["data"] == "Heir 10"
    assert show(Mine())["type"] == "text"


def test_a_predicate_that_raises_does_not_match() -> None:
    with registered(lambda value: value.mine, lambda value, limits: "mine"):
        assert show(Mine())["type"] == "text"
        assert show("x")["data"] == "x"


def test_the_latest_entry_is_chosen_and_before_the_built_in_ones() -> None:
    with registered("pandas.DataFrame", lambda value, limits: "first"):
        with registered(pd.DataFrame, lambda value, limits: "second"):
            assert show(pd.DataFrame()) == {"type": "text", "data": "second"}
        assert show(pd.DataFrame()) == {"type": "text", "data": "first"}
    assert show(pd.DataFrame())["type"] == "table"


def test_a_converter_may_return_another_value_to_be_shown() -> None:
    with registered(Mine, lambda value, limits: pd.DataFrame({"a": [1]})):
        assert show(Mine())["data"]["rows"] == [[1]]
        assert show({"type": "table", "data": Mine()})["data"]["rows"] == [[1]]


def test_take_runs_at_the_call_and_the_converter_later() -> None:
    order: list[str] = []

    def take(value: Mine, limits: Limits) -> str:
        order.append("take")
        return "taken"

    def convert(value: str, limits: Limits) -> str:
        order.append("convert")
        return value

    with registered(Mine, convert, take=take):
        making = Making(Mine(), None, None)
        order.append("called")
        assert making.finish_blocking()["data"] == "taken"
    assert order[:2] == ["take", "called"]


def test_what_cannot_be_registered_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="a kind is"):
        register("DataFrame", lambda value, limits: value)
    with pytest.raises(LocalProtocolError, match="a converter is"):
        register(Mine, "html")  # type: ignore[arg-type]


def test_the_limits_of_the_process_hold_where_none_are_said() -> None:
    before = default_limits()
    set_default_limits(Limits(rows=1, ends=1))
    try:
        frame = pd.DataFrame({"a": range(9)})
        assert Making(frame, None, None).finish_blocking()["data"]["rows"] == [[0], ["..."], [8]]
        assert len(show(frame)["data"]["rows"]) == 9
    finally:
        set_default_limits(before)
    with pytest.raises(LocalProtocolError, match=r"preview\.Limits"):
        set_default_limits({"rows": 1})  # type: ignore[arg-type]


def test_nothing_is_imported_that_the_value_did_not_bring() -> None:
    code = """
import sys
from asyncblock.preview import Making, register
class Mine:
    def _repr_html_(self): return "x"
register("pandas.DataFrame", lambda value, limits: "x")
before = set(sys.modules)
for payload in (Mine(), object(), {"a": 1}, "x", b"x", [1]):
    Making(payload, None, None).finish_blocking()
print(sorted(name for name in sys.modules if name not in before and not name.startswith("encodings")))
print(sorted({"pandas", "numpy", "matplotlib", "polars", "pyarrow", "plotly", "altair", "PIL"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
