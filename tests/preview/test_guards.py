"""What is looked at on the block's loop is bounded, and nothing long is converted before it is cut."""

from __future__ import annotations

import datetime
import time
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from asyncblock.errors import PreviewFailed
from asyncblock.preview import Making

from .showing import picture, show


def _traces(count: int) -> go.Figure:
    return go.Figure([go.Scatter(x=list(range(50)), y=list(range(50))) for _ in range(count)])


def _outlines() -> go.Figure:
    ring = [[float(x), float(x)] for x in range(1000)]
    features = [
        {"type": "Feature", "id": str(n), "geometry": {"type": "Polygon", "coordinates": [ring]}} for n in range(300)
    ]
    return go.Figure(go.Choropleth(geojson={"type": "FeatureCollection", "features": features}, z=[1], locations=["1"]))


AT_THE_CALL: dict[str, Any] = {
    "10 traces": lambda: _traces(10),
    "100 traces": lambda: _traces(100),
    "380 traces": lambda: _traces(380),
    "outlines": _outlines,
    "a grid": lambda: go.Figure(go.Heatmap(z=np.zeros((1000, 1000)))),
    "a styled frame": lambda: pd.DataFrame(np.zeros((5000, 10))).style,
    "16 bits": lambda: Image.new("I;16", (7000, 7000)),
    "a frame": lambda: pd.DataFrame(np.zeros((100_000, 300))),
    "figures in a list": lambda: [_traces(50)] * 50,
    "records": lambda: [{"a": datetime.date(2024, 5, 1)}] * 1_000_000,
}


@pytest.mark.parametrize("make", AT_THE_CALL.values(), ids=AT_THE_CALL)
def test_a_call_takes_next_to_no_time(make: Any) -> None:
    value = make()
    Making(value, None, None)
    spent = []
    for _ in range(3):
        began = time.thread_time()
        Making(value, None, None)
        spent.append(time.thread_time() - began)
    # A tenth of what the cheapest of them took; noise adds, it never takes away.
    assert min(spent) < 0.012


def test_a_figure_is_not_asked_for_what_is_not_set() -> None:
    figure = _traces(1)
    before = set(figure.data[0]._compound_props)
    show(figure)
    assert set(figure.data[0]._compound_props) == before


def test_a_small_plotly_figure_is_taken_at_the_call() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2]))
    making = Making(figure, None, None)
    figure.data[0].name = "later"
    assert "later" not in making.finish_blocking()["data"]


def test_of_a_styled_frame_only_the_shown_rows_are_styled() -> None:
    seen: list[int] = []

    def red(column: pd.Series[Any]) -> list[str]:
        seen.append(len(column))
        return ["color: red"] * len(column)

    made = show(pd.DataFrame(np.zeros((20_000, 10))).style.apply(red).format("{:.1f} m"))
    assert made["type"] == "html" and "color: red" in made["data"] and "0.0 m" in made["data"]
    assert made["note"] == "the first 40 of 20,000 rows, styled by themselves"
    assert set(seen) == {40}


def test_a_short_styled_frame_is_shown_whole() -> None:
    made = show(pd.DataFrame({"a": [1, 2]}).style.set_caption("words"))
    assert "words" in made["data"] and "note" not in made


def test_a_style_for_a_row_that_is_not_shown_gives_the_plain_table() -> None:
    frame = pd.DataFrame({"a": range(1000)})
    made = show(frame.style.map(lambda _: "color: red", subset=([999], ["a"])))
    assert (made["type"], made["note"]) == ("table", "without its style")


def test_a_large_picture_of_16_bits_is_made_smaller_first() -> None:
    image = Image.fromarray(np.arange(3000 * 2000, dtype="uint16").reshape(2000, 3000))
    shown = picture(show(image, pixels=60_000)["data"])
    assert shown.size == (300, 200) and shown.getextrema() == (0, 255)


def test_a_chart_says_that_it_needs_the_network_and_travels_as_its_specification() -> None:
    chart = alt.Chart(pd.DataFrame({"a": [1]})).mark_point().encode(x="a")
    for value, library in ((go.Figure(go.Scatter(y=[1])), "plotly"), (chart, "vegalite")):
        made = show(value)
        assert made["needs"] == ["network"]
        assert any(library in media_type for media_type in made["mime"])


def test_no_text_of_a_chart_ends_its_script() -> None:
    made = show(go.Figure(go.Scatter(text=["</script><b>"])))
    assert "</script><b>" not in made["data"]
    assert made["mime"]["application/vnd.plotly.v1+json"]["data"][0]["text"] == ["</script><b>"]


def test_altairs_own_limit_of_rows_is_not_ours() -> None:
    frame = pd.DataFrame({"a": range(5001), "b": range(5001)})
    chart = alt.Chart(frame).mark_point().encode(x="a", y="b")
    specification = next(iter(show(chart)["mime"].values()))
    [data] = specification["datasets"].values()
    assert len(data) == 5001
    with pytest.raises(alt.MaxRowsError):
        chart.to_dict()


def test_an_altair_chart_of_dates_is_shown() -> None:
    frame = pd.DataFrame({"a": [datetime.date(2024, 5, 1)], "b": [1]})
    specification = next(iter(show(alt.Chart(frame).mark_point().encode(x="a:T", y="b"))["mime"].values()))
    [[row]] = specification["datasets"].values()
    assert row["a"].startswith("2024-05-01")


def test_noise_is_made_smaller_until_it_has_few_enough_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1000, 1000, 3)).astype("uint8")
    for value in (noise, Image.fromarray(noise)):
        made = show(value, bytes=500_000)
        assert 100_000 < len(made["data"]) <= 500_000


def _bars(**options: Any) -> Any:
    return alt.Chart(pd.DataFrame({"a": [1, 2, 5]})).mark_bar(**options).encode(x="a:Q", y="a:O")


def test_a_picture_is_beside_an_altair_chart() -> None:
    made = show(_bars(color="#ff0000").properties(width=200, height=100))
    assert made["type"] == "html" and made["needs"] == ["network"]
    shown = picture(f"data:image/png;base64,{made['mime']['image/png']}").convert("RGB")
    assert shown.size[0] >= 200 and shown.size[1] >= 100
    assert (255, 0, 0) in {colour for _, colour in shown.getcolors(100_000)}


def test_an_altair_chart_may_be_shown_as_a_picture() -> None:
    made = show({"type": "image", "title": "bars", "data": _bars()})
    assert (made["type"], made["title"]) == ("image", "bars") and "needs" not in made
    assert picture(made["data"]).size[0] > 20


def test_charts_in_a_container_have_a_picture_each() -> None:
    group = show({"one": _bars(), "two": alt.layer(_bars(), _bars())})
    assert group["type"] == "group"
    assert all("image/png" in each["mime"] for each in group["data"])


def test_for_a_picture_nothing_is_fetched() -> None:
    made = show(alt.Chart("https://localhost:1/rows.csv").mark_bar().encode(x="a:Q"))
    assert made["type"] == "html" and list(made["mime"]) == [next(iter(made["mime"]))]
    with pytest.raises(PreviewFailed, match="localhost"):
        show({"type": "image", "data": alt.Chart("https://localhost:1/rows.csv").mark_bar().encode(x="a:Q")})


@pytest.mark.parametrize(
    ("html", "needs"),
    [
        ('<script src="https://cdn.example/x.js"></script>', True),
        ("<script src=//cdn.example/x.js></script>", True),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', True),
        ("<script type='module'>import * as three from 'https://cdn.example/three.js'</script>", True),
        (
            '<script type="importmap">{"imports": {\n"a": "./a.js",\n"three": "https://cdn.example/three.js"}}</script>',
            True,
        ),
        ("<script>var s = document.createElement('script'); s.src = 'https://cdn.example/x.js'</script>", True),
        ("<script>fetch( `https://data.example/rows`)</script>", True),
        ("<style>@import url(https://fonts.example/css);</style>", True),
        ('<iframe srcdoc="&lt;script src=&quot;https://cdn.example/x.js&quot;&gt;"></iframe>', True),
        ('<a href="https://example.org">from here</a>', False),
        ("<p>load it from https://example.org</p>", False),
        ("<script>var x = 'https://example.org'</script>", False),
        ('<script src="data:text/javascript,1"></script>', False),
        ("<b>bold</b>", False),
    ],
)
def test_a_page_says_whether_its_scripts_need_the_network(html: str, needs: bool) -> None:
    class Page:
        def _repr_html_(self) -> str:
            return "x" * 200_000 + html

    assert show(Page()).get("needs") == (["network"] if needs else None)
