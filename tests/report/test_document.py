"""Reports: bounded, with what is left out listed; what blocks have made is text or in frames; nothing is loaded."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncblock.page import StateLimits
from asyncblock.page.markup import el
from asyncblock.report import collect
from asyncblock.report.document import MOST_BYTES, document
from asyncblock.report.previews import draw

from .made import Made

HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>\"'&</style></title>\x1b[31m"


class _Elements(HTMLParser):
    """The elements of a document, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(html)
    return parser.found


async def report_of(made: Made, *, full: bool = False, **options: Any) -> str:
    collected = await collect(made.recording(**options), StateLimits.none() if full else None)
    return (await document(collected, most=None if full else MOST_BYTES)).decode()


async def test_whatever_blocks_say_is_text_and_nothing_is_loaded() -> None:
    made = Made(HOSTILE, "b", title=HOSTILE)
    made.record(HOSTILE, "BlockLog", log=HOSTILE, stdio=HOSTILE)
    made.record(HOSTILE, "BlockWarning", warning=HOSTILE)
    made.record(HOSTILE, "BlockLogJSON", json={HOSTILE[:9]: HOSTILE})
    made.record(HOSTILE, "BlockOutput", handle=HOSTILE, output=1)
    made.preview(
        HOSTILE, {"type": "table", "data": {"columns": [HOSTILE], "rows": [[HOSTILE]], "row_count": 1}, "note": HOSTILE}
    )
    for kind in ("text", "markdown", "json", "image", "audio", "video", "iframe", "csv", "group", HOSTILE):
        made.preview(HOSTILE, {"type": kind, "data": HOSTILE, "title": HOSTILE}, id=kind)
    made.preview(
        HOSTILE, {"type": "markdown", "data": "![x](https://evil.example/a.png) [y](javascript:alert(1)) <b onclick=x>"}
    )
    made.preview(
        HOSTILE,
        {"type": "image", "data": ["https://evil.example/a.png", "data:image/png;base64,AAAA"], "titles": [HOSTILE]},
    )
    made.preview(HOSTILE, {"type": "html", "data": "<p>plain</p><img src=https://evil.example/b.png>"})
    made.record(HOSTILE, "BlockFinished", error=HOSTILE, traceback=HOSTILE, result={})
    made.end("failed", HOSTILE, **{HOSTILE: HOSTILE})
    html = await report_of(made)
    found = elements(html)
    scripts = [attributes for tag, attributes in found if tag == "script"]
    assert scripts == [{}], "only the report's own"
    for tag, attributes in found:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        source = attributes.get("src")
        assert source is None or source.startswith("data:"), (tag, source)
        assert not (attributes.get("href") or "#").startswith("javascript:")
        if tag == "iframe":
            assert attributes["sandbox"] == "" and "Content-Security-Policy" in (attributes["srcdoc"] or "")
    [policy] = [
        each["content"] for tag, each in found if tag == "meta" and each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None and "default-src 'none'" in policy and "unsafe-inline' 'unsafe-eval" not in policy
    assert "\x1b" not in html and "https://evil.example/a.png" in html  # it is named, as text


async def test_scripts_of_a_preview_wait_for_a_click_in_frames_of_no_origin() -> None:
    made = Made("a")
    made.preview("a", {"type": "html", "data": "<script>parent.document.title='got'</script>"})
    html = await report_of(made)
    [frame] = [attributes for tag, attributes in elements(html) if tag == "iframe"]
    assert frame["sandbox"] == "" and "default-src 'none'" in (frame["srcdoc"] or "")
    assert "Run its scripts" in html


async def test_a_report_is_bounded_says_what_is_left_out_and_full_leaves_nothing_out() -> None:
    made = Made("a", "b")
    big = {"type": "text", "data": "x" * 300_000}
    for number in range(60):
        made.preview("a", {**big, "title": f"big {number}"})
    made.preview("b", {"type": "text", "data": "the small one"})
    made.records(
        "b", [{"type": "BlockLog", "log": f"line {n} " + "y" * 2_000, "stdio": "stdout"} for n in range(3_000)]
    )
    made.end()
    html = await report_of(made)
    assert len(html.encode()) <= MOST_BYTES
    assert "the small one" in html and "title" in html
    assert (
        re.search(r"preview &#x27;big \d+&#x27; of a|preview &#x27;text&#x27; of a", html)
        and "lines of the log of b" in html
    )
    assert "line 0 " in html and "line 2999 " in html and "line 1500 " not in html
    whole = await report_of(made, full=True)
    assert "Left out" not in whole and "line 1500 " in whole and whole.count("x" * 300_000) == 60


async def test_a_session_of_a_million_outputs_and_500_previews_is_told_in_five_seconds() -> None:
    made = Made("a", "b")
    outputs = [{"type": "BlockOutput", "handle": "out", "output": n} for n in range(1_000)]
    for _ in range(1_000):
        made.records("a", outputs)
    picture = "data:image/png;base64," + "A" * 400_000
    for number in range(500):
        made.preview("b", {"type": "image", "data": picture, "title": f"p {number}"})
    made.end()
    began = time.process_time()
    html = await report_of(made)
    # Of the processor: this machine's other users are none of the report's business.
    assert time.process_time() - began < 5
    assert len(html) <= MOST_BYTES and "1,000,000" in html


async def test_interrupted_and_running_sessions_are_told_as_they_are() -> None:
    made = Made("a")
    killed = await report_of(made, interrupted=True)
    assert "asyncblock resume" in killed and ">interrupted<" in killed
    assert ">running<" in await report_of(made)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["table", "image", "html", "markdown", "group", "json", "audio", "iframe", "text", "other"]),
    _JSON,
    _JSON,
)
def test_a_payload_of_any_form_is_drawn(kind: str, data: Any, rest: Any) -> None:
    payload = {**(rest if isinstance(rest, dict) else {}), "type": kind, "data": data}
    drawn = draw(payload, "a title")
    assert not [tag for tag, _ in elements(drawn.markup) if tag == "script"]
    draw(data, "not a payload")


@pytest.mark.parametrize("data", [
    {"columns": ["a", 1, None], "rows": [[1, "x"], 5, [None, True, 1.5, "more"]], "row_count": "many"},
    {"columns": "no", "rows": []},
    {"rows": [list(range(10_000))] * 3, "columns": [f"c{i}" for i in range(10_000)], "row_count": 3},
])  # fmt: skip
def test_odd_and_wide_tables_are_tables(data: dict[str, Any]) -> None:
    markup = draw({"type": "table", "data": data}, "t").markup
    assert markup.count("<td") <= 60_000 and "<table" in markup
    if isinstance(data["columns"], list) and len(data["columns"]) > 200:
        assert "the first 200 columns are here" in markup


def test_an_element_escapes_texts_and_attributes_and_nothing_that_is_markup() -> None:
    assert el("p", "<b>", el("i", "&"), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;<i>&amp;</i></p>'
