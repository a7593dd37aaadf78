"""Who runs blocks is seen on the page, and drained, and jobs there are cancelled, by whoever may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import asyncblock

from ..browser import open_browser
from ..flow.packages import block
from .served import browse, client_of, page_of, tab_of, until
from .test_browser import go
from .test_for_everybody import NAMELESS, PALE, WAITS, seen_by, sized

pytestmark = pytest.mark.timeout(240)  # a browser has to start


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


async def test_executors_are_seen_drained_and_freed_of_a_job(browser: Any, tmp_path: Path) -> None:
    path = block(tmp_path / "f", "waits", "n", "out", WAITS)
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page:
        session = await mainframe.start(path, inputs={"n": 1})

        def look() -> None:
            browser.get(page.way_in())
            until(browser, "document.querySelector('header.top nav a[aria-current]')?.innerText === 'Sessions'")
            go(browser, "#/executors", "document.querySelectorAll('.executors tbody tr').length === 1")
            assert browser.title.startswith("Executors")
            assert browser.find_element("css selector", "header.top nav a[aria-current]").text == "Executors"
            card = browser.find_element("css selector", ".executors section")
            assert "1 of " in card.text and "waits" in card.text and "python" in card.text, card.text
            for width in (320, None):
                sized(browser, width)
                assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), width
                for scheme in ("dark", "light"):
                    seen_by(browser, scheme)
                    assert browser.execute_script(PALE) == []
                assert browser.execute_script(NAMELESS) == []
            browser.execute_script("document.querySelector('.executors .bar button').focus()")
            browser.switch_to.active_element.send_keys("\n")
            until(browser, "document.querySelector('.executors .pill').innerText === 'draining'")
            button = "document.querySelector('.executors .bar button')"
            until(browser, f"{button}.innerText === 'Take jobs again' && {button} === document.activeElement")
            browser.execute_script("window.confirm = () => true")
            browser.find_element("css selector", ".executors button.danger").click()
            until(browser, "document.querySelector('.executors .pill').innerText === 'drained'")
            browser.find_element("css selector", ".executors .bar button").click()
            until(browser, "document.querySelector('.executors .pill').innerText === 'idle'")
            go(browser, "#/", "document.querySelectorAll('table.sessions tbody tr').length === 1")

        await browse(look)
        end = await session.wait()
        assert end.state == "failed" and "cancelled by the page" in (end.error or ""), end


async def test_an_observer_sees_executors_and_orders_nothing(browser: Any, tmp_path: Path) -> None:
    path = block(tmp_path / "f", "waits", "n", "out", WAITS)
    async with asyncblock.embedded() as mainframe, page_of(mainframe, roles=("observer",)) as page:
        session = await mainframe.start(path, inputs={"n": 1})

        def look() -> str:
            browser.get(page.way_in())
            until(browser, "document.readyState === 'complete'")
            go(browser, "#/executors", "document.querySelectorAll('.executors tbody tr').length === 1")
            shown = browser.find_elements("css selector", ".executors button")
            assert shown and not [each for each in shown if each.is_displayed()]
            return str(browser.find_element("css selector", ".executors h2").text)

        link = await browse(look)
        async with client_of(page) as client:
            [job] = (await mainframe.executors())[0]["jobs"]
            own = {"origin": page.url.rstrip("/")}
            for path_of in (
                f"api/executors/{link}/drain",
                f"api/sessions/{session.session_id}/cancel-job/{job['job_id']}",
            ):
                refused = await client.post(path_of, headers=own)
                assert refused.status_code == 403 and "may only watch" in refused.json()["error"]
        [row] = await mainframe.executors()
        assert not row["drained"] and row["job_count"] == 1
        await session.cancel()


async def test_one_that_is_not_there_is_not_drained_and_local_runs_have_no_mainframe_to_tell_of(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe, page_of(mainframe) as page, client_of(page) as client:
        own = {"origin": page.url.rstrip("/")}
        refused = await client.post("api/executors/nobody/drain", headers=own)
        assert refused.status_code == 404 and "no executor 'nobody' is here" in refused.json()["error"]
        assert (await client.post("api/executors/nobody/burn", headers=own)).status_code == 404
        assert (await client.post("api/executors/nobody/drain")).status_code == 403, "no other site orders anything"
    async with page_of() as page, client_of(page) as client, tab_of(page, client) as tab:
        await tab.send('{"executors": true}')
        told = orjson.loads(await tab.recv())
        assert told["none"] and told["executors"] == []
