"""The page for whoever has no mouse, no sharp eyes, or a narrow screen; and the form that starts a session again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock
from asyncblock.viewer import Sources, serving

from ..browser import open_browser
from ..flow.packages import block
from .served import browse, page_of, until
from .test_again import bad_flow, greets
from .test_browser import go

pytestmark = pytest.mark.timeout(240)  # a browser has to start


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


PALE = """
const seen = [];
const rgba = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const over = (top, below) => { const a = top[3] ?? 1; return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)); };
const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const ground = (it) => { const found = []; for (; it; it = it.parentElement) found.push(rgba(getComputedStyle(it).backgroundColor));
  return found.reverse().reduce((below, each) => over(each, below), [255, 255, 255]); };
for (const it of document.querySelectorAll("body *")) {
  const own = [...it.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
  const style = getComputedStyle(it);
  if (!own || it.closest("svg, :disabled") || !it.checkVisibility({ visibilityProperty: true })) continue;
  const below = ground(it), ink = over(rgba(style.color), below);
  const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) seen.push(`${it.tagName}.${it.className} ${JSON.stringify(it.textContent.slice(0, 30))} ${ratio.toFixed(2)}`);
}
return [...new Set(seen)];
"""
"""What of the page is paler than WCAG's AA lets texts be."""

NAMELESS = """
return [...document.querySelectorAll("button, a[href], input, select, textarea, [role=button], [tabindex]:not([tabindex='-1'])")]
  .filter((it) => it.checkVisibility() && !it.closest("iframe"))
  .filter((it) => !(it.innerText?.trim() || it.getAttribute("aria-label") || it.getAttribute("aria-labelledby") || it.labels?.length || it.title || it.querySelector(":scope > title")?.textContent)
    || it.tabIndex > 0)
  .map((it) => it.outerHTML.slice(0, 200));
"""
"""Controls that a screen reader can't name, or whose place in the order isn't that in the document."""


def seen_by(browser: Any, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def sized(browser: Any, width: int | None) -> None:
    if width is None:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


LOADED = (
    "document.querySelector('.part section') && !document.querySelector('.part section').innerText.includes('Loading')"
)
SOURCE = """
import asyncio
async def main(inputs, ctx):
    await ctx.preview({"type": "table", "data": [{"n": n} for n in range(20)]})
    await ctx.preview({"type": "image", "data": "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"})
    await ctx.output(1, "out")
    print("a line")
    raise ValueError("a reason " * 900)
"""


async def test_texts_have_contrast_and_controls_have_names_in_all_views(browser: Any, tmp_path: Path) -> None:
    path = block(tmp_path / "f", "fails", "", "out", SOURCE)
    async with asyncblock.embedded(capture=True) as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path)
        await session.wait()
        await mainframe.map(block(tmp_path / "g", "goes", "n", "out"), [{"n": n} for n in range(3)])

        def look() -> None:
            browser.get(page.way_in())
            until(browser, "document.querySelectorAll('table.sessions tbody tr').length === 2")
            problems: dict[str, list[str]] = {}

            def check(where: str) -> None:
                for scheme in ("light", "dark"):
                    seen_by(browser, scheme)
                    if found := browser.execute_script(PALE):
                        problems[f"{where}, {scheme}"] = found
                if found := browser.execute_script(NAMELESS):
                    problems[f"{where}, names"] = found

            check("list")
            for view in ("graph", "nodes", "timeline", "previews", "log", "errors", "values", "outputs", "executors"):
                node = "?node=fails" if view in ("graph", "nodes") else ""
                go(browser, f"#/s/{session.session_id}/{view}{node}", LOADED)
                check(view)
            browser.find_element("css selector", "button.again").click()
            until(browser, "!document.querySelector('dialog.form .main').disabled")
            check("form")
            browser.execute_script("document.querySelector('dialog.form').close()")
            assert not problems, problems

        try:
            await browse(look)
        finally:
            seen_by(browser, "light")


WAITS = "import asyncio\nasync def main(inputs, ctx):\n    await asyncio.Event().wait()\n"


async def test_on_a_phone_nothing_sticks_out_and_all_can_be_cancelled(browser: Any, tmp_path: Path) -> None:
    path = block(tmp_path / "f", "waits", "n", "out", WAITS)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        many = mainframe.map(path, [{"n": n} for n in range(3)], limit=3)
        begun = await many.begin()
        reach = """
            const box = arguments[0].getBoundingClientRect();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return box.left >= 0 && box.right <= innerWidth && arguments[0].contains(top);
        """

        def look() -> None:
            for width in (320, 390):
                sized(browser, width)
                browser.get(page.way_in())
                until(browser, "document.querySelector('tr.several button.danger')?.checkVisibility()")
                button = browser.find_element("css selector", "tr.several button.danger")
                browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
                assert browser.execute_script(reach, button), width
                assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), width
                go(browser, f"#/s/{begun[0].session_id}/nodes", LOADED)
                for name in ("button.danger", "button.again"):
                    until(browser, f"document.querySelector('.head {name}').checkVisibility()")
                    button = browser.find_element("css selector", f".head {name}")
                    assert browser.execute_script(reach, button), (width, name)
                assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), width
            go(browser, "#/", "document.querySelector('tr.several button.danger')?.checkVisibility()")
            browser.find_element("css selector", "tr.several button.danger").click()
            browser.switch_to.alert.accept()

        try:
            await browse(look)
            for session in begun:
                assert (await session.wait()).state == "cancelled"
        finally:
            sized(browser, None)
            await many.cancel()


async def test_on_a_phone_a_long_error_leaves_room_and_the_view_that_is_shown_is_named(
    browser: Any, tmp_path: Path
) -> None:
    path = block(tmp_path / "f", "fails", "", "out", SOURCE)
    async with asyncblock.embedded(capture=True) as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path)
        await session.wait()

        def look() -> None:
            within = """
                const box = arguments[0].getBoundingClientRect(), around = arguments[0].parentElement.getBoundingClientRect();
                return box.left >= around.left - 1 && box.right <= Math.min(around.right, innerWidth) + 1;
            """
            for width in (320, 390):
                sized(browser, width)
                browser.get(page.way_in(session.session_id))
                until(browser, "document.querySelector('.notices .bad')")
                assert browser.execute_script("return document.querySelector('header.top').offsetHeight < 70"), width
                for link in browser.find_elements("css selector", "header.top nav a, #theme"):
                    assert browser.execute_script(within, link), (width, link.text)
                for view in ("executors", "graph"):
                    go(browser, f"#/s/{session.session_id}/{view}", LOADED)
                    until(browser, f"document.querySelector('nav a.tab[aria-current]').hash.endsWith('/{view}')")
                    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
                    current = browser.find_element("css selector", "nav a.tab[aria-current]")
                    assert browser.execute_script(within, current), (width, view)
                top = "document.querySelector('.part section').getBoundingClientRect().top"
                assert browser.execute_script(f"return {top} < innerHeight"), "an error of 8 kB isn't all that is seen"

        try:
            await browse(look)
        finally:
            sized(browser, None)


async def test_a_token_is_typed_without_a_mouse(browser: Any) -> None:
    async with asyncblock.embedded() as mainframe, page_of(mainframe, token="the token") as page:

        def look() -> None:
            sized(browser, 320)
            browser.delete_all_cookies()
            browser.get(page.url)
            for given in ("wrong", "the token"):
                until(browser, "document.activeElement.name === 'token'")
                assert browser.execute_script(NAMELESS) == [] and browser.execute_script(PALE) == []
                browser.switch_to.active_element.send_keys(given, "\n")
                until(browser, "document.querySelector('[role=alert], .list')")
            until(browser, "document.querySelector('.list')")

        try:
            await browse(look)
        finally:
            sized(browser, None)


async def test_escape_closes_a_picture_and_not_the_node_behind_it(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    path = block(tmp_path / "f", "fails", "", "out", SOURCE)
    async with asyncblock.embedded(capture=True) as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path)
        await session.wait()

        def look() -> None:
            browser.get(page.way_in(session.session_id))
            until(browser, "document.querySelector('.head .pill')")
            go(
                browser,
                f"#/s/{session.session_id}/graph?node=fails&tab=previews",
                "document.querySelector('.panel img[role=button]')",
            )
            picture = browser.find_element("css selector", ".panel img")
            assert picture.get_attribute("aria-label").startswith("Enlarge")
            for key in (Keys.ENTER, Keys.SPACE):
                picture.send_keys(key)
                until(browser, "document.querySelector('dialog.large[open]')")
                browser.switch_to.active_element.send_keys(Keys.ESCAPE)
                until(browser, "!document.querySelector('dialog')")
                assert browser.find_element("css selector", ".panel").is_displayed()
                until(browser, "document.activeElement.tagName === 'IMG'")
            picture.send_keys(Keys.ESCAPE)
            until(browser, "!document.querySelector('.panel').checkVisibility()")

        await browse(look)


async def test_a_link_to_a_moment_is_copied_where_the_browser_gives_no_clipboard(browser: Any, tmp_path: Path) -> None:
    path = block(tmp_path / "f", "fails", "", "out", SOURCE)
    async with asyncblock.embedded(capture=True) as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path)
        await session.wait()

        def look() -> None:
            browser.get(page.way_in(session.session_id))
            go(
                browser,
                f"#/s/{session.session_id}/nodes?node=at%3D1",
                "document.querySelector('.travel')?.checkVisibility()",
            )
            browser.execute_script(
                "Object.defineProperty(navigator, 'clipboard', { value: undefined });"
                "document.addEventListener('copy', () => { window.took = document.activeElement.value });"
            )
            slider = browser.find_element("css selector", ".travel input")
            browser.execute_script(
                "arguments[0].value = 2; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))", slider
            )
            until(browser, "document.querySelector('.travel.past')")
            [button] = browser.find_elements("xpath", "//div[contains(@class, 'travel')]//button[text()='Link']")
            button.send_keys("\n")  # the node's panel covers it for a mouse, at this width
            until(browser, "document.querySelector('.travel .moment').innerText === 'link copied'")
            link = browser.execute_script("return window.took")
            assert link.endswith(f"#/s/{session.session_id}/nodes?node=at%3D1&at=2"), link
            browser.get("about:blank")
            browser.get(link)
            until(browser, "document.querySelector('.travel.past .moment')?.innerText.startsWith('row 2 of')")
            for odd in ("-5", "1.5", "x", "9" * 40):
                go(
                    browser,
                    f"#/s/{session.session_id}/nodes?at={odd}",
                    "document.querySelector('.travel') && !document.querySelector('.travel.past')",
                )

        await browse(look)


async def test_a_subflow_is_opened_by_the_keyboard_and_words_stay_in_their_boxes(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        session = await mainframe.start("topics")
        await session.outputs()

        def look() -> None:
            browser.get(page.way_in(session.session_id))
            until(browser, "document.querySelector('g[data-node=map][data-state=finished]')")
            until(browser, "document.querySelector('g[data-node=is_long] text.ab-sub').textContent.includes('jobs')")
            out = """
                return [...document.querySelectorAll('g[data-node]')].filter((each) => {
                  const box = each.querySelector('rect.ab-box').getBoundingClientRect();
                  return [...each.querySelectorAll('text')].some((it) => it.getBoundingClientRect().right > box.right);
                }).map((each) => each.textContent);
            """
            assert browser.execute_script(out) == []
            browser.execute_script("document.querySelector('g[data-node=map]').focus()")
            browser.switch_to.active_element.send_keys(Keys.ENTER)
            until(browser, "document.querySelector('button.inner').checkVisibility()")
            browser.find_element("css selector", "button.inner").send_keys(Keys.ENTER)
            until(browser, "document.querySelector('.crumbs')?.innerText.includes('map')")
            until(browser, "document.querySelectorAll('g[data-path^=\"map/\"]').length > 1")
            assert browser.execute_script(out) == []
            assert not browser.find_element("css selector", "button.inner").is_displayed()

        await browse(look)


async def test_a_session_is_started_again_by_the_keyboard_with_another_input(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    path = greets(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        first = await mainframe.start(path, {"name": "<b>Zoë</b>", "more": [1]})
        await first.wait()

        def starts() -> str:
            browser.get(page.way_in(first.session_id))
            until(browser, "document.querySelector('.head button.again')?.checkVisibility()")
            browser.find_element("css selector", ".head button.again").send_keys(Keys.ENTER)
            until(browser, "document.activeElement.name === 'name'")
            field = browser.switch_to.active_element
            assert field.get_attribute("value") == "<b>Zoë</b>"
            field.send_keys(Keys.END, "!", Keys.TAB)
            until(browser, "document.activeElement.name === 'times'")
            browser.switch_to.active_element.send_keys(Keys.CONTROL, "a")
            browser.switch_to.active_element.send_keys("many", Keys.ENTER)
            until(browser, "document.querySelector('dialog.form [role=alert]').innerText.includes('times:')")
            field = browser.find_element("css selector", "dialog.form [name=times]")
            field.clear()
            field.send_keys("7", Keys.ENTER)
            until(browser, f"!document.querySelector('dialog') && !location.hash.includes('{first.session_id}')")
            until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
            # Escape closes the form, and nothing has begun.
            browser.find_element("css selector", ".head button.again").click()
            until(browser, "document.querySelector('dialog.form [name=times]')?.value === '7'")
            browser.switch_to.active_element.send_keys(Keys.ESCAPE)
            until(browser, "!document.querySelector('dialog')")
            return str(browser.execute_script("return location.hash.split('/')[2]"))

        session_id = await browse(starts)
        out = (await mainframe.session(session_id).outputs())["out"]
        assert out == {"name": "<b>Zoë</b>!", "times": 7, "mood": "glad", "loud": None, "more": [1]}
        assert len(await mainframe.sessions()) == 2


async def test_a_hostile_flows_form_and_cut_addresses_are_texts(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        first = await mainframe.start(bad_flow(tmp_path), {"key": "hunter2"})
        await first.wait()

        def starts() -> str:
            browser.get(page.way_in(first.session_id))
            for odd in (f"#/s/{first.session_id}/toString", "#/s/%E0%A4%A/graph", "#/s/x/y?node=%", "#/__proto__"):
                go(browser, odd, "document.getElementById('main').children.length === 1")
            go(browser, f"#/s/{first.session_id}/nodes?node=n&tab=constructor", LOADED)
            until(browser, "document.querySelector('.head button.again')?.checkVisibility()")
            browser.find_element("css selector", ".head button.again").send_keys(Keys.ENTER)
            until(browser, "!document.querySelector('dialog.form .main').disabled")
            fields = {
                each.get_attribute("name"): each for each in browser.find_elements("css selector", "dialog.form [name]")
            }
            assert len(fields) == 9 and fields["constructor"].get_attribute("value").endswith('</script>"')
            assert fields["key"].get_attribute("value") == "" and "isn't shown" in fields["key"].get_attribute(
                "placeholder"
            )
            fields["submit"].send_keys(Keys.CONTROL, Keys.END)
            fields["submit"].send_keys("!")
            fields["__proto__"].send_keys(Keys.END, "!")
            assert "hunter2" not in browser.page_source and browser.execute_script("return window.got") is None
            browser.find_element("css selector", "dialog.form .main").send_keys(Keys.ENTER)
            until(browser, f"!document.querySelector('dialog') && !location.hash.includes('{first.session_id}')")
            until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
            assert browser.execute_script("return window.got") is None
            return str(browser.execute_script("return location.hash.split('/')[2]"))

        session_id = await browse(starts)
        entry = orjson.loads((await mainframe.link.read(session_id, 0)).rows[0][1][0])
        inputs = {name: entry["inputs"][name] for name in ("key", "submit", "__proto__")}
        assert inputs == {"key": "hunter2", "submit": "one\r\ntwo!", "__proto__": "polluted!"}


async def test_a_flow_is_chosen_and_started_from_the_list(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    bad_flow(tmp_path / "hostile")
    greets(tmp_path / "greets")
    async with asyncblock.embedded() as mainframe:
        sources = Sources(mainframe, roles=frozenset({"client"}), flows=[tmp_path])
        async with serving(sources, port=0) as page:

            def starts() -> str:
                browser.get(page.way_in())
                until(browser, "document.querySelector('.tools button.start')?.checkVisibility()")
                browser.find_element("css selector", ".tools button.start").send_keys(Keys.ENTER)
                until(browser, "document.querySelectorAll('dialog.flows button.flow').length > 3")
                for scheme in ("light", "dark"):
                    seen_by(browser, scheme)
                    assert browser.execute_script(PALE) == []
                assert browser.execute_script(NAMELESS) == [] and browser.execute_script("return window.got") is None
                until(browser, "document.activeElement.innerText.includes('greets')")
                browser.switch_to.active_element.send_keys(Keys.ENTER)
                until(browser, "document.activeElement.name === 'name'")
                browser.switch_to.active_element.send_keys(Keys.ENTER)
                until(browser, "document.querySelector('dialog.form [role=alert]').innerText.includes('required')")
                browser.find_element("css selector", "dialog.form [name=name]").send_keys("Zoë", Keys.ENTER)
                until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
                return str(browser.execute_script("return location.hash.split('/')[2]"))

            try:
                session_id = await browse(starts)
            finally:
                seen_by(browser, "light")
            assert (await mainframe.session(session_id).outputs())["out"]["name"] == "Zoë"
