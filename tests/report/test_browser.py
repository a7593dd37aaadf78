"""Reports in a real Chromium: what is hostile reaches neither the page nor the network, and what isn't works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..browser import Trap, open_browser, requests_of, trap
from .made import Made
from .test_document import report_of

pytestmark = pytest.mark.timeout(120)  # a browser has to start


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def hostile(url: str, port: int) -> str:
    """HTML that tries whatever there is to reach an address, or the page around it."""
    rtc = f"const c = new RTCPeerConnection({{iceServers: [{{urls: 'stun:127.0.0.1:{port}'}}]}}); c.createDataChannel('x'); c.createOffer().then((o) => c.setLocalDescription(o))"
    inner = f"<script>{rtc}<\\/script>"
    declared = f"<script>{rtc}</script>".replace("<", "&lt;")
    script = f"""
      const inner = `{inner}`;
      const tries = [
        () => fetch("{url}/fetch"), () => navigator.sendBeacon("{url}/beacon"), () => new WebSocket("ws://127.0.0.1:{port}/ws"),
        () => new EventSource("{url}/events"), () => {{ const x = new XMLHttpRequest(); x.open("GET", "{url}/xhr"); x.send(); }},
        () => import("{url}/import.js"), () => new Worker("{url}/worker.js"), () => {{ new Image().src = "{url}/image"; }},
        () => {{ const f = document.createElement("iframe"); f.srcdoc = "<img src={url}/inner>"; document.body.append(f); }},
        () => {{ const l = document.createElement("link"); l.rel = "prefetch"; l.href = "{url}/prefetch"; document.head.append(l); }},
        () => {{ document.cookie = "a=b"; }}, () => {{
          const c = new RTCPeerConnection({{ iceServers: [{{ urls: "stun:127.0.0.1:{port}" }}] }});
          c.createDataChannel("x"); c.createOffer().then((offer) => c.setLocalDescription(offer));
        }}, () => {{ parent.document.title = "got"; }}, () => {{ parent.got = true; }},
        () => {{ top.location = "{url}/top"; }}, () => window.open("{url}/open"), () => alert("got"),
        () => {{ const f = document.createElement("form"); f.action = "{url}/form"; document.body.append(f); f.submit(); }},
        () => eval("fetch('{url}/eval')"),
        () => {{ const f = document.createElement("iframe"); f.srcdoc = inner; document.body.append(f); }},
        () => {{ const f = document.createElement("iframe"); f.srcdoc = inner; const e = document.createElement("div"); document.body.append(e); e.attachShadow({{ mode: "closed" }}).append(f); }},
        () => {{ const e = document.createElement("div"); document.body.append(e); e.setHTMLUnsafe("<div><template shadowrootmode=closed><iframe id=i></iframe></template></div>"); }},
        () => document.write("<p>late</p>"),
        () => {{ parent.postMessage("<img src={url}/message>", "*"); }},
      ];
      for (const each of tries) {{ try {{ const done = each(); if (done && done.catch) done.catch(() => 0); }} catch (error) {{}} }}
      setTimeout(() => {{ try {{ location = "{url}/location"; }} catch (error) {{}} }}, 300);
    """
    return (
        f'<base href="{url}/base/"><meta http-equiv="refresh" content="1;url={url}/refresh">'
        f'<link rel="stylesheet" href="{url}/style"><link rel="icon" href="{url}/icon">'
        f'<style>@import "{url}/import"; @font-face{{font-family:f;src:url({url}/font)}} body{{font-family:f;background:url({url}/background)}}</style>'
        f'<img src="{url}/img" srcset="{url}/srcset 2x" onerror="parent.got=1"><video src="{url}/video" autoplay></video><audio src="{url}/audio" autoplay></audio>'
        f'<iframe src="{url}/iframe"></iframe><object data="{url}/object"></object><embed src="{url}/embed">'
        f'<iframe srcdoc="{declared}"></iframe><div><template shadowrootmode="closed"><iframe srcdoc="{declared}"></iframe></template></div>'
        f'<svg><image href="{url}/svg" width="9" height="9"/><use href="{url}/use#a"/><script>parent.got=2</script></svg>'
        f'<script src="{url}/script.js"></script><script>{script}</script><p id="here">here</p>'
    )  # fmt: skip


def report_in(browser: Any, directory: Path, html: str) -> str:
    """Open a report and return its title."""
    place = directory / "report.html"
    place.write_text(html, "utf-8")
    requests_of(browser)
    browser.get(place.as_uri())
    title: str = browser.title
    return title


def settled(browser: Any, milliseconds: int) -> None:
    """Let the page do what it wants to do for a while."""
    browser.execute_async_script("setTimeout(arguments[1], arguments[0])", milliseconds)


async def test_hostile_previews_reach_neither_the_network_nor_the_report(browser: Any, tmp_path: Path) -> None:
    with trap() as place:
        bad = hostile(place.url, place.port)
        made = Made(bad[:200], "b", title=bad)
        for kind in ("html", "text", "markdown", "image", "json", "table", "iframe", "audio", "video", bad):
            made.preview("b", {"type": kind, "data": bad, "title": bad, "note": bad}, id=kind)
        made.preview("b", {"type": "html", "data": "It <script>document.body.append('ran')</script>"})
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>parent.got=3;fetch("{place.url}/in-svg")</script><image href="{place.url}/of-svg"/></svg>'
        made.preview("b", {"type": "image", "data": [svg, f"{place.url}/a.png"], "titles": [bad]})
        made.preview("b", {"type": "table", "data": {"columns": [bad], "rows": [[bad]], "row_count": 1}})
        made.record("b", "BlockLog", log=bad, stdio="stdout")
        made.record("b", "BlockFinished", error=bad, traceback=bad, result={})
        made.end("failed", bad, **{bad[:50]: bad})
        html = await report_of(made)
        title = report_in(browser, tmp_path, html)
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        frames = browser.find_elements("css selector", "iframe")
        for frame in frames:
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
        settled(browser, 500)
        assert (place.said, requests_of(browser)[1:]) == ([], []), "before anybody asked for scripts"
        for button in browser.find_elements("css selector", "button.run"):
            browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
            button.click()
        settled(browser, 2_000)
        assert browser.title == title and browser.execute_script("return window.got") is None
        assert [url for url in requests_of(browser) if not url.startswith("file:")] == []
        assert place.said == []
        browser.switch_to.frame(frames[1])
        assert browser.execute_script("return [origin, document.body.innerText.trim()]") == ["null", "It ran"]
        browser.switch_to.default_content()
    the_trap_works(browser, tmp_path)


def the_trap_works(browser: Any, tmp_path: Path) -> None:
    """The same HTML on its own reaches the trap, so that a quiet one means something."""
    with trap() as place:
        (tmp_path / "bare.html").write_text(f'<img src="{place.url}/img"><script>fetch("{place.url}/fetch")</script>')
        browser.get((tmp_path / "bare.html").as_uri())
        settled(browser, 500)
        assert len(place.caught) >= 2
        assert len([url for url in requests_of(browser) if url.startswith(place.url)]) == 2


async def test_charts_are_drawn_in_their_frames_and_the_page_is_usable(browser: Any, tmp_path: Path) -> None:
    made = Made("a", "b", edges=(("a", "b"),))
    plotly = {
        "data": [{"type": "scatter", "y": [1, 3, 2]}],
        "layout": {"title": {"text": "</script><script>parent.got=1</script>"}},
    }
    vega = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": {"values": [{"x": 1, "y": 2}]}, "mark": "bar",
            "encoding": {"x": {"field": "x"}, "y": {"field": "y", "type": "quantitative"}}}  # fmt: skip
    for name, spec in (("application/vnd.plotly.v1+json", plotly), ("application/vnd.vegalite.v6+json", vega)):
        made.preview("a", {"type": "html", "data": "<p>", "mime": {name: spec}, "needs": ["network"]})
    made.record("a", "BlockLog", log="one line", stdio="stdout")
    made.record("b", "BlockLog", log="another", stdio="stderr")
    made.end()
    report_in(browser, tmp_path, await report_of(made))
    for index, sign in ((0, ".main-svg"), (1, "canvas, svg.marks")):
        browser.execute_script("document.querySelectorAll('.chart')[arguments[0]].scrollIntoView()", index)
        browser.implicitly_wait(20)
        frame = browser.find_elements("css selector", ".chart")[index].find_element("css selector", "iframe")
        browser.switch_to.frame(frame)
        assert browser.find_element("css selector", sign)
        browser.switch_to.default_content()
    browser.implicitly_wait(0)
    browser.find_element("id", "theme").click()
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    browser.find_element("id", "find").send_keys("another")
    settled(browser, 300)
    shown = browser.execute_script("return [...document.querySelectorAll('ol.log li')].map(each => each.hidden)")
    assert shown == [True, False]
    for head in browser.find_elements("css selector", "table.nodes th")[:1]:
        browser.execute_script("arguments[0].click(); arguments[0].click()", head)
    names = browser.execute_script(
        "return [...document.querySelectorAll('table.nodes tbody bdi')].map(each => each.textContent)"
    )
    assert names == ["b", "a"]
    assert browser.execute_script("return window.got") is None
    assert [url for url in requests_of(browser) if not url.startswith("file:")] == []


async def test_a_report_without_scripts_of_blocks_runs_its_own_only_and_fits_on_a_phone(
    browser: Any, tmp_path: Path
) -> None:
    made = Made("a", "b", edges=(("a", "b"),))
    made.preview(
        "a", {"type": "table", "data": {"columns": list("abcdefghij"), "rows": [[1.5] * 10] * 9, "row_count": 9}}
    )
    made.preview("a", {"type": "html", "data": "<b>bold</b>"})
    made.end()
    html = (await report_of(made)).replace(
        "</main>", "<script>window.got=1</script><i onclick='window.got=2' id=i>i</i></main>"
    )
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        report_in(browser, tmp_path, html)
        browser.execute_script("document.getElementById('i').click()")
        assert browser.execute_script("return window.got") is None, "only a script of this very text runs"
        assert browser.find_element("id", "theme").text in ("Dark", "Light"), "the report's own has run"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_trap_hears_a_connection_and_a_datagram() -> None:
    import socket

    with trap() as place:
        with socket.create_connection(("127.0.0.1", place.port)) as caller:
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            caller.recv(10)
        assert isinstance(place, Trap) and place.caught == [b"GET / HTTP/1.1"]
