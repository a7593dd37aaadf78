"""The page in a real Chromium: what is hostile reaches neither it nor the network, and what goes on is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import asyncblock
from asyncblock.testing.proxy import FaultProxy

from ..browser import open_browser, requests_of, trap
from ..flow.packages import block
from ..flows import one_block
from ..processes import free_port, run, start
from ..report.made import Made
from ..report.test_browser import hostile, settled, the_trap_works
from .served import browse, page_of, until

pytestmark = pytest.mark.timeout(240)  # a browser has to start, and commands


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def go(browser: Any, where: str, condition: str) -> Any:
    """Go to another place of the page and wait until it is there."""
    browser.execute_script("location.hash = arguments[0]", where)
    return until(browser, condition)


async def test_hostile_previews_reach_neither_the_network_nor_the_page(browser: Any, tmp_path: Path) -> None:
    with trap() as place:
        bad = hostile(place.url, place.port)
        made = Made('<img src=x onerror="window.got=5">', "b", title=bad)
        kinds = ("html", "text", "markdown", "image", "json", "table", "iframe", "audio", "video", bad)
        for kind in kinds:
            made.preview("b", {"type": kind, "data": bad, "title": bad, "note": bad}, id=kind)
        made.preview("b", {"type": "group", "data": [{"type": "html", "title": bad, "data": bad}], "title": "group"})
        spec = {
            "data": [{"y": [1, 2]}],
            "layout": {"title": {"text": bad}, "images": [{"source": f"{place.url}/chart.png"}]},
        }
        made.preview("b", {"type": "html", "data": bad, "mime": {"application/vnd.plotly.v1+json": spec}})
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><script>parent.got=3;fetch("{place.url}/in-svg")</script><image href="{place.url}/of-svg"/></svg>'
        made.preview("b", {"type": "image", "data": [svg, f"{place.url}/a.png"], "titles": [bad]})
        made.preview("b", {"type": "html", "data": "It <script>document.body.append('ran')</script>", "title": "last"})
        made.record("b", "BlockLog", log=bad, stdio="stdout")
        made.record("b", "BlockOutput", handle=bad[:60], output=bad)
        made.record("b", "BlockFinished", error=bad, traceback=bad, result={})
        made.end("failed", bad, **{bad[:50]: bad})

        async with page_of(one=made) as page:

            def look() -> None:
                requests_of(browser)
                browser.get(page.way_in("one"))
                until(browser, "document.querySelectorAll('g[data-node]').length === 2")
                for view in ("nodes", "timeline", "log", "errors", "values", "outputs", "executors"):
                    go(
                        browser,
                        f"#/s/one/{view}",
                        "document.querySelector('.part section') && !document.querySelector('.part section').innerText.includes('Loading')",
                    )
                    settled(browser, 200)
                count = len(kinds) + 4
                go(
                    browser,
                    "#/s/one/previews?node=b&tab=errors",
                    f"document.querySelectorAll('.cards .card').length === {count}",
                )
                for card in range(count):
                    browser.execute_script(
                        "document.querySelectorAll('.cards .card')[arguments[0]].scrollIntoView({block: 'center'})",
                        card,
                    )
                    until(
                        browser,
                        "!document.querySelectorAll('.cards .card')[arguments[0]].innerText.includes('Loading')",
                        card,
                    )
                frames = browser.find_elements("css selector", ".framed iframe")
                assert len(frames) == 4
                for frame in frames:
                    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frame)
                    settled(browser, 700)
                settled(browser, 500)
                for button in browser.find_elements("css selector", ".framed button.scripts"):
                    browser.execute_script(
                        "arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", button
                    )
                    settled(browser, 700)
                frames = browser.find_elements("css selector", ".framed iframe")
                settled(browser, 1500)
                assert (
                    browser.execute_script("return window.got") is None
                    and "got" not in browser.title.split(" · ")[0][:3]
                )
                browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", frames[0])
                browser.switch_to.frame(frames[0])
                try:
                    until(browser, "document.body.innerText.trim() === 'It ran'")
                    assert browser.execute_script("return origin") == "null"
                    assert (
                        browser.execute_script("try { return document.cookie } catch (error) { return 'refused' }")
                        == "refused"
                    )
                finally:
                    browser.switch_to.default_content()

            await browse(look)
            asked = [
                url
                for url in requests_of(browser)
                if not url.startswith((page.url, page.url.replace("http", "ws") + "tab"))
            ]
        assert asked == [] and place.said == []
    await browse(the_trap_works, browser, tmp_path)


async def test_a_viewer_may_allow_the_network_and_the_frame_cant_by_itself(browser: Any) -> None:
    with trap() as place:
        made = Made("b")
        script = "if (!location.href.includes('network=1')) setTimeout(() => { location = location.href + '&network=1' }, 100)"
        made.preview(
            "b", {"type": "html", "data": f"<p>picture</p><img src='{place.url}/img'><script>{script}</script>"}
        )
        made.end()
        async with page_of(one=made) as page:

            def look() -> None:
                browser.get(page.way_in("one"))
                go(browser, "#/s/one/previews", "document.querySelector('.framed iframe')")
                assert place.said == [], "before anything of it runs"
                browser.find_element("css selector", ".framed button.scripts").click()
                settled(browser, 1500)
                assert place.said == [], "it asked for the network by itself"
                browser.find_element("css selector", ".framed button.run").click()
                until(browser, "document.querySelector('.framed .note').innerText.includes('you allowed it')")
                settled(browser, 1500)

            await browse(look)
        assert any(b"/img" in each for each in place.said)


GOES_ON = """
import asyncio, pathlib
async def main(inputs, ctx):
    async def until(name):
        while not pathlib.Path(HERE, name).exists():
            await asyncio.sleep(0.02)
    await ctx.preview({"type": "text", "data": "version one"}, id="p")
    await ctx.report_progress(25)
    print("said first")
    await until("second")
    await ctx.preview({"type": "text", "data": "version two"}, id="p")
    await ctx.report_progress(75)
    print("said <b>second</b>")
    await until("end")
    return {"out": 42}
"""


async def test_a_run_is_seen_as_it_goes_on_and_a_tab_comes_back_by_itself(browser: Any, tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", GOES_ON.replace("HERE", repr(str(tmp_path))))
    port = free_port()
    async with (
        asyncblock.embedded(capture=True) as mainframe,
        page_of(mainframe, allowed=(f"127.0.0.1:{port}",)) as page,
    ):
        proxy = FaultProxy("127.0.0.1", urlsplit(page.url).port or 0)
        proxy.port = port
        async with proxy:
            session = await mainframe.start(path)
            address = page.way_in(session.session_id).replace(page.url, f"http://127.0.0.1:{port}/")

            def first() -> None:
                browser.get(address)
                until(browser, "document.querySelector('g[data-node=n]')?.dataset.state === 'working'")
                until(browser, "document.querySelector('g[data-node=n]').textContent.includes('25 %')")
                browser.find_element("css selector", "g[data-node=n]").click()
                until(browser, "document.querySelector('.panel .shown')?.innerText.includes('version one')")
                until(browser, "document.querySelector('.head .pill').innerText === 'running'")
                browser.execute_script("window.here = document.querySelector('.panel .card')")

            def second() -> None:
                until(browser, "document.querySelector('.panel .shown').innerText.includes('version two')")
                assert browser.execute_script("return window.here === document.querySelector('.panel .card')"), (
                    "in place"
                )
                until(browser, "document.querySelector('g[data-node=n]').textContent.includes('75 %')")
                slider = browser.find_element("css selector", ".panel .card input[type=range]")
                browser.execute_script("arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input'))", slider)
                until(browser, "document.querySelector('.panel .shown').innerText.includes('version one')")
                find = "[...document.querySelectorAll('.panel nav a')].find((each) => each.innerText.startsWith('Log'))"
                browser.execute_script(f"{find}.click()")
                until(browser, "document.querySelector('.panel .lines')?.innerText.includes('said <b>second</b>')")

            def third() -> None:
                until(browser, "document.getElementById('link').innerText.includes('trying again')")

            def last() -> None:
                until(browser, "document.querySelector('.head .pill').innerText === 'succeeded'")
                until(browser, "document.querySelector('g[data-node=n]').dataset.state === 'finished'")
                assert browser.execute_script("return document.getElementById('link').innerText") == ""
                until(
                    browser,
                    "[...document.querySelectorAll('.head nav a')].some((each) => each.innerText.startsWith('Outputs'))",
                )
                go(
                    browser,
                    f"#/s/{session.session_id}/outputs",
                    "document.querySelector('.part pre')?.innerText === '42'",
                )
                # A moment before: the node worked, and nothing was put out.
                go(browser, f"#/s/{session.session_id}/graph?at=3", "document.querySelector('.travel.past')")
                until(browser, "document.querySelector('g[data-node=n]')?.dataset.state === 'working'")
                until(browser, "document.querySelector('.head .pill').innerText === 'running'")
                go(
                    browser,
                    f"#/s/{session.session_id}/graph",
                    "document.querySelector('g[data-node=n]')?.dataset.state === 'finished'",
                )

            await browse(first)
            (tmp_path / "second").touch()
            await browse(second)
            proxy._stop_listening()
            proxy.cut()
            await browse(third)
            (tmp_path / "end").touch()
            await session.wait()
            await proxy._listen()
            await browse(last)


async def test_the_list_moves_and_a_mainframe_that_is_away_is_told_of(browser: Any, tmp_path: Path) -> None:
    path = one_block(
        tmp_path / "f",
        "import asyncio\nasync def main(inputs, ctx):\n    await ctx.report_progress(40)\n    await asyncio.Event().wait()\n",
    )
    port = free_port()
    serve = ("serve", "--port", str(port), "--data-dir", tmp_path / "data")
    async with start(*serve, state=tmp_path) as mainframe:
        await mainframe.until_line("mainframe at", err=True)
        async with (
            start("executor", "--data-dir", tmp_path / "data", "--package", tmp_path / "f", state=tmp_path),
            start("page", "--data-dir", tmp_path / "data", "--no-browser", state=tmp_path) as page,
        ):
            address = (await page.until_line("page: ")).split()[1]

            def empty() -> None:
                browser.get(address)
                until(browser, "document.querySelector('.list .empty')?.innerText.includes('No session yet')")

            await browse(empty)
            submitted = await run("submit", path, "--detach", "--data-dir", tmp_path / "data", state=tmp_path)
            session_id = submitted.out[0]

            def moves() -> None:
                until(browser, "document.querySelector('table.sessions tbody .pill')?.innerText === 'running'")
                until(browser, "document.querySelector('table.sessions .progress i').style.width === '40%'")
                browser.find_element("css selector", "table.sessions a.name").click()
                until(browser, "document.querySelector('g[data-node=n]')?.dataset.state === 'working'")

            def away() -> None:
                until(browser, "document.getElementById('link').innerText.includes('mainframe is away')")

            def back() -> None:
                until(browser, "document.getElementById('link').innerText === ''")
                until(browser, "!document.querySelector('button.danger').hidden")
                browser.find_element("css selector", "button.danger").click()
                browser.switch_to.alert.accept()
                until(browser, "document.querySelector('.head .pill').innerText === 'cancelled'")
                go(browser, "#/", "document.querySelector('table.sessions tbody .pill')?.innerText === 'cancelled'")

            await browse(moves)
            mainframe.kill()
            await browse(away)
            async with start(*serve, state=tmp_path) as again:
                await again.until_line("mainframe at", err=True)
                await browse(back)
            assert session_id


async def test_a_group_is_one_row_that_unfolds_and_is_cancelled_as_one(browser: Any, tmp_path: Path) -> None:
    source = """
import asyncio
async def main(inputs, ctx):
    if inputs["n"] == 3:
        raise ValueError("three")
    await ctx.report_progress(50)
    if inputs["n"] % 2:
        await asyncio.Event().wait()
    return {"out": inputs["n"]}
"""
    path = block(tmp_path / "f", "odd", "n", "out", source)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        many = mainframe.map(path, [{"n": n} for n in range(60)], limit=60)
        begun = await many.begin()
        alone = await mainframe.start(path, {"n": 2})
        for session in begun[::2]:
            await session.wait()
        # Those that have had their turn: their progress is in the list.
        group = f"tr.several[data-group={many.group}]"

        def unfolds() -> None:
            browser.get(page.way_in())
            until(browser, "document.querySelectorAll('table.sessions tbody tr').length === 2")
            words = "60 sessions: 29 running, 1 failed, 30 succeeded"
            until(browser, f"document.querySelector('{group} .counts').innerText === '{words}'")
            assert browser.find_element("css selector", f"{group} .pill").text == "running"
            assert "ValueError: three" in browser.find_element("css selector", f"{group} .why").text
            button = browser.find_element("css selector", f"{group} button.fold")
            assert button.get_attribute("aria-expanded") == "false"
            # Its cells stand below the heads of their columns.
            lefts = "[...arguments[0].children].map((each) => Math.round(each.getBoundingClientRect().left))"
            row, heads = (browser.find_element("css selector", each) for each in (group, "table.sessions thead tr"))
            assert browser.execute_script(f"return {lefts}", row) == browser.execute_script(f"return {lefts}", heads)
            button.click()
            until(browser, "document.querySelectorAll('tr.member').length === 51")
            assert button.get_attribute("aria-expanded") == "true"
            indexes = "[...document.querySelectorAll('tr.member .index')].map((each) => each.innerText)"
            assert browser.execute_script(f"return {indexes}") == [str(n) for n in range(1, 51)]
            browser.execute_script("document.querySelector('tr.member button').click()")
            until(browser, "document.querySelectorAll('tr.member').length === 60")
            # To one of them, and back: it is as it was.
            browser.execute_script("document.querySelectorAll('tr.member a.name')[3].click()")
            until(browser, f"document.querySelector('.head .sub').innerText.includes('{begun[3].session_id}')")
            browser.back()
            until(browser, "document.querySelectorAll('tr.member').length === 51")

        def cancels() -> None:
            browser.execute_script(f"document.querySelector('{group} button.danger').click()")
            browser.switch_to.alert.accept()
            words = "60 sessions: 1 failed, 29 cancelled, 30 succeeded"
            until(browser, f"document.querySelector('{group} .counts').innerText === '{words}'")
            until(browser, f"document.querySelector('{group} .pill').innerText === 'failed'")
            assert not browser.find_element("css selector", f"{group} button.danger").is_displayed()
            browser.find_element("css selector", f"{group} button.fold").click()
            until(browser, "document.querySelectorAll('tr.member').length === 0")
            # Only those that fit are shown; the group is told whole.
            go(browser, f"#/?state=failed&open={many.group}", "document.querySelectorAll('tr.member').length === 1")
            assert words in browser.find_element("css selector", group).text
            browser.get(page.way_in(many.group))
            until(browser, "document.querySelectorAll('tr.member').length === 51")
            assert len(browser.find_elements("css selector", "table.sessions tbody tr")) == 52

        await browse(unfolds)
        assert (await alone.wait()).state == "succeeded"
        await browse(cancels)
