"""What goes wrong while somebody looks: a token that is taken out, another journal, ports, displays; what is far too wide
or too long."""

from __future__ import annotations

import html
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..browser import open_browser
from ..cli.test_paging import address_of, into, waits
from ..flows import one_block
from ..processes import appears, free_port, run, start
from ..report.made import Made
from .served import browse, page_of, until
from .test_browser import go

pytestmark = pytest.mark.timeout(240)  # a browser has to start, and commands


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


async def test_a_token_that_is_taken_out_while_the_page_is_open_is_said_to_be(browser: Any, tmp_path: Path) -> None:
    path, tokens, port = waits(tmp_path), tmp_path / "tokens", free_port()
    tokens.write_text("looks client\nstays client\n")
    url = f"ws://127.0.0.1:{port}"
    async with start("serve", "--port", str(port), "--token-file", tokens, state=tmp_path) as served:
        await served.until_line("mainframe at", err=True)
        submitted = await run("submit", path, "--detach", "--url", url, "--token", "stays", state=tmp_path)
        session_id = submitted.out[0]
        async with start("page", "--url", url, "--token", "looks", "--no-browser", state=tmp_path) as page:
            address = await address_of(page)

            def looks() -> None:
                browser.get(address)
                until(browser, "document.querySelector('table.sessions tbody .pill')?.innerText === 'running'")
                go(browser, f"#/s/{session_id}/nodes", "document.querySelector('.head .pill')?.innerText === 'running'")

            def told() -> None:
                words = "isn't valid any more; end the page's command, and start it with another --token"
                until(browser, "document.querySelector('.notices').innerText.includes(arguments[0])", words)
                until(browser, "![...document.querySelectorAll('.head button')].some((each) => each.checkVisibility())")
                go(browser, "#/", "document.querySelector('.list [role=status]')?.innerText.length > 0")
                assert words in browser.find_element("css selector", ".list [role=status]").text
                assert browser.find_elements("css selector", "table.sessions tbody tr") == []
                ask = "const done = arguments[1]; fetch(arguments[0]).then((it) => it.text().then((text) => done([it.status, text])))"
                for path in ("", "/log", "/values", "/graph"):
                    status, text = browser.execute_async_script(ask, f"api/sessions/{session_id}{path}")
                    assert status >= 400 and words in text, (path, text)

            await browse(looks)
            tokens.write_text("stays client\n")
            await browse(told)
            assert page.process.returncode is None, "it says so for as long as somebody looks"
        (tmp_path / "end").touch()


async def test_a_mainframe_that_comes_back_with_another_journal_is_read_anew(browser: Any, tmp_path: Path) -> None:
    path, port, data = waits(tmp_path), free_port(), tmp_path / "data"
    serve = ("serve", "--port", str(port), "--data-dir", data)
    async with start(*serve, state=tmp_path) as served:
        await served.until_line("mainframe at", err=True)
        before = (await run("submit", path, "--detach", "--data-dir", data, state=tmp_path)).out[0]
        async with start("page", "--data-dir", data, "--no-browser", state=tmp_path) as page:
            address = await address_of(page)

            def looks() -> None:
                browser.get(address)
                until(browser, "document.querySelector('table.sessions tbody .pill')?.innerText === 'running'")
                go(browser, f"#/s/{before}/nodes", "document.querySelector('.head .pill')?.innerText === 'running'")

            def is_gone() -> None:
                until(
                    browser,
                    "document.querySelector('.notices').innerText.includes(arguments[0])",
                    f"no session {before!r}",
                )

            def lists() -> None:
                go(browser, "#/", "document.querySelectorAll('table.sessions tbody tr').length === 1")
                hrefs = "[...document.querySelectorAll('table.sessions a.name')].map((each) => each.getAttribute('href')).join()"
                until(browser, f"{hrefs}.includes(arguments[0])", after)
                assert before not in browser.execute_script(f"return {hrefs}")
                go(browser, f"#/s/{after}/nodes", "document.querySelector('.head .pill')?.innerText === 'running'")

            await browse(looks)
            served.kill()
            await served.process.wait()
            for each in data.glob("journal.db*"):
                each.unlink()
            shutil.rmtree(data / "bodies", ignore_errors=True)
            async with start(*serve, state=tmp_path) as again:
                await again.until_line("mainframe at", err=True)
                after = (await run("submit", path, "--detach", "--data-dir", data, state=tmp_path)).out[0]
                await browse(is_gone)
                await browse(lists)


async def test_two_pages_are_beside_each_other_in_one_browser(browser: Any, tmp_path: Path) -> None:
    """Cookies know of no ports: neither page may take the other's away."""
    ran = await run("run", one_block(tmp_path / "f", "def main(inputs, ctx):\n    return {'out': 1}\n"), state=tmp_path)
    session_id = ran.out[0].split()[1].rstrip(":")
    async with start("page", "--no-browser", state=tmp_path) as one:
        first = await address_of(one)
        port = int(first.split(":")[2].split("/")[0])
        taken = await run("page", "--port", str(port), "--no-browser", state=tmp_path)
        assert taken.process.returncode == 2
        assert f"can't listen on 127.0.0.1:{port}: Address already in use; give another --port" in taken.err[0]
        async with start("page", session_id, "--no-browser", state=tmp_path) as two:
            second = await address_of(two)
            assert int(second.split(":")[2].split("/")[0]) != port

            def looks() -> None:
                row = "document.querySelectorAll('table.sessions tbody tr').length === 1"
                browser.get(first)
                until(browser, row)
                browser.get(second)
                until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
                browser.get(first.partition("enter?")[0])
                until(browser, row)
                browser.get(second.partition("enter?")[0])
                until(browser, row)

            await browse(looks)


async def test_a_display_opens_a_browser_and_none_prints_the_address_alone(tmp_path: Path) -> None:
    """By a file that only this user can read: arguments of processes are everybody's to see."""
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened.new && mv {tmp_path}/opened.new {tmp_path}/opened\n')
    opener.chmod(0o755)
    shown = {"BROWSER": str(opener), "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    opened = tmp_path / "opened"
    async with start("page", state=tmp_path, **shown) as page:
        async with into(await address_of(page)) as client:
            assert (await client.get("api/page")).status_code == 200
        page.kill(signal.SIGINT)
        assert await page.wait() == 0
        assert not opened.exists()
    async with start("page", state=tmp_path, **{**shown, "DISPLAY": ":7"}) as page:
        address = await address_of(page)
        # A browser is nobody's child.
        await appears(opened)
        file = Path(opened.read_text().strip().removeprefix("file://"))
        assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
        found = re.search(r"url=([^\"&]+[^\"]*)\"", html.unescape(file.read_text()))
        assert found is not None and found[1] != address, "one of its own: that which was printed works still"
        for each in (found[1], address):
            async with into(each) as client:
                assert (await client.get("api/page")).status_code == 200


def test_no_chromium_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium chromium-driver"), open_browser(tmp_path):
        pass


WIDE = 10_000


async def test_a_table_of_10_000_columns_is_drawn_in_part_and_says_so(browser: Any) -> None:
    made = Made("b")
    rows = [[n * WIDE + i for i in range(WIDE)] for n in range(40)]
    names = [f"<b>{i}</b>" for i in range(WIDE)]
    made.preview(
        "b", {"type": "table", "title": "wide", "data": {"columns": names, "rows": rows, "row_count": 123_456}}
    )
    made.preview("b", {"type": "text", "data": "after it"})
    made.end()
    async with page_of(one=made) as page:

        def look() -> None:
            browser.get(page.way_in("one"))
            go(browser, "#/s/one/previews", "document.querySelectorAll('.card .shown table th').length > 10")
            words = browser.find_element("css selector", ".card .shown .note").text
            assert "123,456 rows" in words and f"{WIDE:,} columns" in words and "columns are here" in words
            assert browser.execute_script("return document.querySelectorAll('.card .shown *').length") < 20_000
            assert browser.execute_script("return document.querySelector('.card th').innerText") == "<b>0</b>"
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), (
                "it scrolls by itself"
            )
            until(browser, "document.querySelector('.cards').innerText.includes('after it')")

        await browse(look)


async def test_a_line_of_1_mb_is_one_line_that_can_be_seen_whole(browser: Any) -> None:
    """Prints are cut into shorter ones where they are captured; another engine's lines aren't."""
    made = Made("b")
    for words in ("before", "<b>" + "x" * 999_990 + "</b>end", "after"):
        made.record("b", "BlockLog", log=words, stdio="stdout")
    made.end()
    async with page_of(one=made) as page:

        def look() -> None:
            browser.get(page.way_in("one"))
            go(browser, "#/s/one/log", "document.querySelectorAll('.lines .line').length === 3")
            lines = "[...document.querySelectorAll('.lines .line')]"
            long = f"{lines}.find((each) => each.innerText.includes('<b>xxx'))"
            assert browser.execute_script(f"return {long}.innerText.length") < 5_000
            assert browser.execute_script(f"return {long}.getBoundingClientRect().height") == 20
            assert browser.execute_script(f"return {lines}.at(-1).innerText").endswith("after")
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
            browser.execute_script(f"{long}.click()")
            whole = "document.querySelector('.whole-line').textContent"
            until(browser, f"{whole}.endsWith('</b>end')")
            assert browser.execute_script(f"return {whole}.length") == 1_000_000
            find = browser.find_element("css selector", ".tools input[type=search]")
            find.send_keys("b>end")
            until(browser, "document.querySelectorAll('ol.found li').length === 1")
            assert browser.execute_script("return document.querySelector('ol.found').innerText.length") < 5_000

        await browse(look)
