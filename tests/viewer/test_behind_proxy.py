"""The page as a browser enters it by its token: directly, and through a real proxy that does TLS, below a path."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

import asyncblock

from ..browser import open_browser, requests_of
from ..processes import free_port
from ..transport.proxies import Nginx, proxied
from .served import browse, page_of, until
from .test_again import greets

pytestmark = pytest.mark.timeout(240)  # a browser has to start


async def test_the_form_for_the_token_is_one_that_browsers_send(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe, page_of(mainframe, token="let me in") as page:

        def enter() -> None:
            with open_browser(tmp_path / "profile") as browser:
                browser.get(page.url)
                until(browser, "document.querySelector('form [name=token]')")
                browser.find_element("name", "token").send_keys("let me in\n")
                until(browser, "document.querySelector('.list .empty')?.innerText.includes('No session yet')")

        await browse(enter)


@pytest.mark.skipif(not Nginx.installed(), reason="needs nginx: apt-get install nginx-light")
async def test_below_a_path_and_through_tls_it_is_entered_watched_and_started_from(tmp_path: Path) -> None:
    certificate = tmp_path / "both.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(greets(tmp_path / "g"), {"name": "Zoë"})
        await session.wait()
        # Whoever does TLS has a port, and the page has to know under which name it is seen.
        port = free_port()
        async with page_of(mainframe, token="let me in", allowed=(f"localhost:{port}",)) as page:
            inner = urlsplit(page.url).port
            assert inner is not None

            async with proxied(Nginx, tmp_path / "nginx", inner, "page", certificate, port=port):

                def look() -> None:
                    with open_browser(tmp_path / "profile") as browser:
                        browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
                        requests_of(browser)
                        browser.get(f"https://localhost:{port}/team/page/")
                        until(browser, "document.querySelector('form [name=token]')")
                        browser.find_element("name", "token").send_keys("wrong\n")
                        until(browser, "document.querySelector('[role=alert]')?.innerText.includes('token')")
                        browser.find_element("name", "token").send_keys("let me in\n")
                        until(browser, "document.querySelectorAll('table.sessions tbody tr').length === 1")
                        browser.find_element("css selector", "table.sessions a.name").click()
                        until(browser, "document.querySelector('g[data-node=n]')?.dataset.state === 'finished'")
                        browser.find_element("css selector", ".head button.again").click()
                        until(browser, "!document.querySelector('dialog.form .main').disabled")
                        browser.find_element("css selector", "dialog.form .main").click()
                        until(browser, f"!location.hash.includes('{session.session_id}')")
                        until(browser, "document.querySelector('.head .pill')?.innerText === 'succeeded'")
                        browser.refresh()
                        until(browser, "document.querySelector('g[data-node=n]')?.dataset.state === 'finished'")
                        place = f"//localhost:{port}/team/page/"
                        asked = requests_of(browser)
                        assert asked and all(place in each for each in asked), asked
                        assert f"wss:{place}tab" in asked

                await browse(look)
        assert len(await mainframe.sessions()) == 2
