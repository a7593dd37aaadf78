from __future__ import annotations

import datetime
import io
import time
from collections import UserDict, UserList, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pydantic
import pytest
from matplotlib.figure import Figure
from PIL import Image

from .showing import picture, show

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": [3, 1, 2], "g": ["x", "y", "x"]})


@pytest.fixture(autouse=True)
def _closed() -> Any:
    yield
    plt.close("all")


def _axes() -> Any:
    return plt.subplots()[1]


PLOTTED: dict[str, Any] = {
    "an array of axes": lambda: plt.subplots(2, 2)[1],
    "figure and axes": lambda: plt.subplots(2, 2),
    "histograms": lambda: FRAME.hist(),
    "subplots of a frame": lambda: FRAME.plot(subplots=True),
    "a matrix of scatters": lambda: pd.plotting.scatter_matrix(FRAME[["a", "b"]]),
    "boxes by group": lambda: FRAME.groupby("g").boxplot(),
    "lines": lambda: _axes().plot([1, 2]),
    "bars": lambda: _axes().bar([1, 2], [1, 2]),
    "bars of a histogram": lambda: _axes().hist([1, 2, 3]),
    "several histograms": lambda: _axes().hist([[1, 2], [2, 3]]),
    "boxes": lambda: _axes().boxplot([1, 2, 3]),
    "violins": lambda: _axes().violinplot([1, 2, 3]),
    "a pie": lambda: _axes().pie([1, 2]),
    "contours": lambda: _axes().contour(np.eye(3)),
    "error bars": lambda: _axes().errorbar([1], [1], [1]),
    "stems": lambda: _axes().stem([1, 2]),
    "text": lambda: _axes().text(0, 0, "x"),
    "lines of two axes": lambda: {"a": _axes().plot([1, 2])},
}


@pytest.mark.parametrize("make", PLOTTED.values(), ids=PLOTTED)
def test_what_a_plotting_function_returns_shows_its_figure_once(make: Any) -> None:
    made = show(make())
    assert made["type"] == "image" and isinstance(made["data"], str)
    picture(made["data"])


def test_pyplot_itself_shows_its_current_figure() -> None:
    assert show(plt) == {"type": "text", "data": "pyplot has no open figure"}
    plt.plot([1, 2])
    assert show(plt)["type"] == "image"


def test_histograms_of_groups_are_a_figure_each() -> None:
    made = show(FRAME.groupby("g").hist())
    assert (made["type"], made["titles"], len(made["data"])) == ("image", ["x", "y"], 2)


def test_pictures_in_a_container_are_shown_with_their_keys() -> None:
    made = show({"red": Image.new("RGB", (2, 3)), "blue": np.zeros((4, 5, 3), "uint8"), "figure": Figure()})
    assert (made["type"], made["titles"]) == ("image", ["red", "blue", "figure"])
    assert [picture(url).size for url in made["data"]][:2] == [(2, 3), (5, 4)]


def test_things_of_several_kinds_are_shown_each_with_its_key() -> None:
    made = show({"loss": 0.5, "frame": FRAME, "figure": Figure(), "chart": go.Figure()})
    assert made["type"] == "group"
    assert [(each["title"], each["type"]) for each in made["data"]] == [
        ("loss", "json"),
        ("frame", "table"),
        ("figure", "image"),
        ("chart", "html"),
    ]
    assert made["data"][2]["data"].startswith("data:image/png;base64,")


def _one_axes() -> Any:
    return pd.Series({"x": plt.subplots()[1]})


@pytest.mark.parametrize(
    ("make", "kind", "title"),
    [
        (lambda: {"loss": Figure()}, "image", "loss"),
        (lambda: {2023: FRAME}, "table", "2023"),
        (lambda: MappingProxyType({("a", 1): FRAME}), "table", "a / 1"),
        (lambda: {"axes": plt.subplots()[1]}, "image", "axes"),
        (lambda: SimpleNamespace(errors=FRAME), "table", "errors"),
        (_one_axes, "image", "x"),
        (lambda: {"year": {"month": FRAME}}, "table", "year / month"),
        (lambda: {"year": [FRAME]}, "table", "year"),
        (lambda: {"year": {"type": "table", "title": "sales", "data": FRAME}}, "table", "year / sales"),
        (lambda: {"year": {"a": Figure(), "b": Figure()}}, "image", "year"),
        (lambda: {"year": {"a": Figure(), "b": FRAME}}, "group", "year"),
        (lambda: [Figure()], "image", None),
        (lambda: Holder(Figure(), "fig"), "image", None),
        (lambda: plt.subplots()[1].boxplot([1, 2, 3]), "image", None),
    ],
    ids=["figure", "number", "tuple", "axes", "members", "series", "nested", "list in it", "own title", "pictures",
         "group", "list", "holder", "boxplot"],
)  # fmt: skip
def test_one_thing_has_its_key_as_title(make: Callable[[], Any], kind: str, title: str | None) -> None:
    made = show(make())
    assert (made["type"], made.get("title")) == (kind, title)


def test_titles_of_inner_containers_stand_behind_those_of_the_outer() -> None:
    made = show({"2023": {"may": FRAME}, "2024": {"june": FRAME, "july": FRAME}})
    assert [each["title"] for each in made["data"]] == ["2023 / may", "2024"]
    assert [each["title"] for each in made["data"][1]["data"]] == ["june", "july"]


def test_things_in_a_list_are_shown_by_their_position() -> None:
    made = show([FRAME, [Figure(), Figure()]])
    assert [each["title"] for each in made["data"]] == ["0", "1"]
    assert len(made["data"][1]["data"]) == 2


def test_frames_and_axes_that_a_function_returns_are_both_shown() -> None:
    made = show((FRAME, _axes(), [1.5]))
    assert [each["type"] for each in made["data"]] == ["table", "image"]


def test_of_many_things_the_first_are_shown_and_it_is_said() -> None:
    made = show([Image.new("L", (1, 1))] * 50)
    assert len(made["data"]) == 20 and made["note"] == "the first 20 of 50"


@dataclass
class Result:
    figure: Figure | None
    loss: float


Pair = namedtuple("Pair", "picture loss")


def test_members_that_can_be_shown_are_shown() -> None:
    assert [each["title"] for each in show(Pair(Image.new("L", (1, 1)), 0.5))["data"]] == ["picture", "loss"]
    assert show(Result(None, 0.5)) == {"type": "json", "data": {"figure": None, "loss": 0.5}}


class Holder:
    def __init__(self, figure: Any, name: str) -> None:
        setattr(self, name, figure)


@pytest.mark.parametrize("name", ["figure", "fig", "figure_"])
@pytest.mark.parametrize(("figure", "kind"), [(Figure(), "image"), (go.Figure(), "html")], ids=["drawn", "plotly"])
def test_an_object_that_holds_a_figure_shows_it(figure: Any, kind: str, name: str) -> None:
    assert show(Holder(figure, name))["type"] == kind
    assert show(Holder(3, name))["type"] == "text"


PLAIN: dict[str, tuple[Any, Any]] = {
    "numbers": ([1, 2.5, None], [1, 2.5, None]),
    "arrays of numbers": ([np.arange(2), np.arange(3)], [[0, 1], [0, 1, 2]]),
    "objects": ([object(), {"a": object()}], ["<object>", {"a": "<object>"}]),
    "large integers": ({"a": 2**70}, {"a": str(2**70)}),
}


@pytest.mark.parametrize(("value", "data"), PLAIN.values(), ids=PLAIN)
def test_a_container_of_other_things_is_json(value: Any, data: Any) -> None:
    assert show(value) == {"type": "json", "data": data}


class Shown(dict):  # type: ignore[type-arg]
    def _repr_html_(self) -> str:
        return "<b>shown</b>"


class ShownList(list):  # type: ignore[type-arg]
    _repr_html_ = Shown._repr_html_


class ShownText(str):
    _repr_html_ = Shown._repr_html_


class ShownMapping(UserDict):  # type: ignore[type-arg]
    _repr_html_ = Shown._repr_html_


HEIRS = [Shown(a=1), ShownList([1]), ShownText("x"), ShownMapping(a=1), Shown(type="image", data="x")]


@pytest.mark.parametrize("value", HEIRS, ids=["dict", "list", "str", "mapping", "like a payload"])
def test_an_heir_of_a_plain_type_is_shown_as_it_offers(value: Any) -> None:
    assert show(value) == {"type": "html", "data": "<b>shown</b>", "mime_type": "text/html"}


@pytest.mark.parametrize("value", HEIRS, ids=["dict", "list", "str", "mapping", "like a payload"])
def test_an_heir_of_a_plain_type_in_a_container_is_shown_as_it_offers(value: Any) -> None:
    made = {"type": "html", "data": "<b>shown</b>", "mime_type": "text/html"}
    for container in ([value], (value,), [[value]]):
        assert show(container) == made
    for named in ({"key": value}, [{"key": [value]}]):
        assert show(named) == {**made, "title": "key"}
    assert show({"key": value, "other": 1})["data"] == [
        {"title": "key", **made},
        {"title": "other", "type": "json", "data": 1},
    ]


class Picky(Shown):
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": "<i>bundle</i>"}

    def _repr_html_(self) -> str:
        raise AssertionError("asked for what it has given")


def test_what_a_bundle_has_is_not_asked_for_again() -> None:
    assert show(Picky())["data"] == "<i>bundle</i>"


def test_bytes_that_begin_as_a_picture_are_one() -> None:
    for format in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        file = io.BytesIO()
        Image.new("RGB", (3, 2)).save(file, format)
        made = show(file.getvalue())
        assert (made["type"], made["mime_type"]) == ("image", f"image/{format.lower()}")
    assert show(b"BMW")["type"] == "text"


def test_no_warning_of_a_preview_says_what_to_do_with_an_output() -> None:
    from asyncblock.errors import UnserializableValue

    with pytest.raises(UnserializableValue) as caught:
        show({"type": "json", "data": {"a": [object()]}})
    assert "declare" not in str(caught.value) and caught.value.path == "data.a[0]"


def test_a_list_that_contains_itself_is_refused_with_the_reason() -> None:
    from asyncblock.errors import UnserializableValue

    held: list[Any] = [1]
    held.append(held)
    with pytest.raises(UnserializableValue, match=r"at \[1\].*it contains itself"):
        show(held)


def _frame(number: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"x": [number]})


@attrs.define
class Fields:
    frame: Any
    score: float


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    frame: Any
    score: float


@pytest.mark.parametrize(
    ("value", "titles"),
    [
        ({"a": {"b": {"c": _frame()}}, "d": [[_frame()]]}, ["a / b / c", "d"]),
        ({"a": _frame(1), "b": _frame(2)}.values(), ["0", "1"]),
        ({"a": _frame(1), "b": _frame(2)}.items(), ["a", "b"]),
        (deque([_frame(1), _frame(2)]), ["0", "1"]),
        (Fields(_frame(), 0.5), ["frame", "score"]),
        (Model(frame=_frame(), score=0.5), ["frame", "score"]),
    ],
    ids=["nested", "values", "items", "deque", "attrs", "pydantic"],
)
def test_things_in_any_container_are_shown(value: Any, titles: list[str]) -> None:
    made = show(value)
    assert made["type"] == "group" and [each["title"] for each in made["data"]] == titles
    assert made["data"][0]["type"] == "table" and made["data"][0]["data"]["rows"] == [[1]]


def test_an_array_of_pictures_shows_each() -> None:
    pictures = np.empty(2, dtype=object)
    pictures[:] = [Image.new("RGB", (9, 5)), Image.new("RGB", (7, 5))]
    made = show(pictures)
    assert made["titles"] == ["0", "1"]
    assert [picture(url).size for url in made["data"]] == [(9, 5), (7, 5)]


def test_a_colorbar_shows_its_figure_once() -> None:
    figure = Figure(figsize=(2, 1))
    bar = figure.colorbar(figure.subplots().imshow(np.eye(3)))
    assert show(bar)["data"] == show(figure)["data"]


def test_containers_of_containers_cost_no_more_than_they_show() -> None:
    days = [{"a": [{"b": [datetime.date(2024, 5, 1)] * 20}] * 20}] * 100
    began = time.thread_time()
    assert show(days)["type"] == "json"
    assert time.thread_time() - began < 2


@dataclass
class Both:
    fig: Any
    table: Any


@pytest.mark.parametrize(
    "make",
    [Both, namedtuple("Named", "fig table"), lambda fig, table: SimpleNamespace(fig=fig, table=table)],
    ids=["dataclass", "named tuple", "namespace"],
)
def test_what_holds_a_figure_and_more_shows_all_of_it(make: Any) -> None:
    made = show(make(Figure(), FRAME))
    assert made["type"] == "group"
    assert [(each["type"], each["title"]) for each in made["data"]] == [("image", "fig"), ("table", "table")]


def test_a_list_of_an_authors_own_class_shows_what_is_in_it() -> None:
    assert show(UserList([Figure()]))["type"] == "image"


def test_keys_of_several_parts_are_titles() -> None:
    assert [each["title"] for each in show({("a", 1): FRAME, 2: FRAME})["data"]] == ["a / 1", "2"]


def test_a_text_that_is_markup_is_shown_as_it() -> None:
    class Markup(str):
        def __html__(self) -> str:
            return str(self)

    assert show(Markup("<b>x</b>"))["type"] == "html"


@pytest.mark.parametrize("make", ["place", "manager", "subfigures"])
def test_what_leads_to_a_figure_shows_it_and_nothing_of_what_it_is_set_to(make: str) -> None:
    figure = plt.figure()
    makes: dict[str, Any] = {
        "place": lambda: figure.add_gridspec(2, 2)[0],
        "manager": lambda: figure.canvas.manager,
        "subfigures": lambda: figure.subfigures(1, 2),
    }
    shown = show(makes[make]())
    assert shown["type"] == "image" and isinstance(shown["data"], str)
