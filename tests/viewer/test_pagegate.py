"""Who gets in, and what the page tells browsers to forbid: over real HTTP, with a client that is no browser."""

from __future__ import annotations

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from asyncblock.viewer.pagegate import Keys

from ..report.made import Made
from .served import client_of, page_of, tab_of


def made() -> Made:
    """A session with a preview that is HTML."""
    session = Made("a")
    session.preview("a", {"type": "html", "data": "<b>bold</b>"})
    session.end()
    return session


async def test_nothing_but_the_way_in_is_answered_without_the_cookie() -> None:
    async with page_of(one=made()) as page, httpx.AsyncClient(base_url=page.url) as client:
        for path in ("api/page", "api/sessions", "api/sessions/one", "frame/one/1", "tab", "nothing"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (401, "log in first\n"), path
        assert (await client.get("static/main.js")).status_code == 200
        front = await client.get("")
        assert front.status_code == 401 and "command printed" in front.text
        assert (
            await client.post("api/sessions/one/cancel", headers={"origin": page.url.rstrip("/")})
        ).status_code == 401
        with pytest.raises(InvalidStatus):
            async with tab_of(page, client):
                pass


async def test_the_printed_address_lets_one_browser_in_once() -> None:
    async with page_of(one=made()) as page:
        address = page.way_in("one")
        async with httpx.AsyncClient(base_url=page.url) as first, httpx.AsyncClient(base_url=page.url) as second:
            answer = await first.get(address)
            assert answer.status_code == 200 and "0;url=./#/s/one" in answer.text
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie
            assert (await first.get("api/page")).json()["roles"] == ["client"]
            assert (await first.get(address)).status_code == 200, "one who is in may go back to it"
            again = await second.get(address)
            assert again.status_code == 401 and "was used" in again.text
            assert (await second.get("api/page")).status_code == 401


async def test_a_session_in_the_address_is_nothing_but_an_id() -> None:
    async with page_of(one=made()) as page, httpx.AsyncClient(base_url=page.url) as client:
        answer = await client.get(page.way_in("x'\"><script>1</script>"))
        assert answer.status_code == 200 and "<script>1" not in answer.text and '0;url=./"' in answer.text


async def test_the_token_lets_in_by_the_form_and_wrong_ones_make_everybody_wait() -> None:
    async with page_of(one=made(), token="right") as page, httpx.AsyncClient(base_url=page.url) as client:
        own = {"origin": page.url.rstrip("/")}
        assert 'name="token"' in (await client.get("")).text
        wrong = await client.post("login", data={"token": "wrong"}, headers=own)
        assert wrong.status_code == 401 and "the token.</p>" in wrong.text
        assert (await client.post("login", data={"token": "right"}, headers=own)).status_code == 200
        assert (await client.get("api/page")).status_code == 200
        other = httpx.AsyncClient(base_url=page.url)
        async with other:
            answers = [(await other.post("login", data={"token": f"{n}"}, headers=own)).status_code for n in range(12)]
            assert answers[:9] == [401] * 9 and answers[10:] == [429, 429]
            late = await other.post("login", data={"token": "right"}, headers=own)
            assert late.status_code == 429 and int(late.headers["retry-after"]) > 0
            assert (await other.post("login", content=b"x" * 9000, headers=own)).status_code == 413
        assert (await client.get("api/page")).status_code == 200, "who is in stays in"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_requests_of_other_pages_are_refused_even_with_the_cookie(headers: dict[str, str], status: int) -> None:
    async with page_of(one=made()) as page, client_of(page) as client:
        assert (await client.get("api/sessions", headers=headers)).status_code == status


async def test_a_change_needs_the_pages_own_origin_and_a_token_that_may() -> None:
    async with page_of(one=made()) as page, client_of(page) as client:
        assert (await client.post("api/sessions/one/cancel")).status_code == 403
        own = {"origin": page.url.rstrip("/")}
        refused = await client.post("api/sessions/one/cancel", headers=own)
        assert refused.status_code == 403 and "only watch" in refused.json()["error"]
        for origin in ("", "https://evil.example", "null"):
            with pytest.raises(InvalidStatus):
                async with tab_of(page, client, origin):
                    pass
        async with tab_of(page, client):
            pass


async def test_the_name_of_a_proxy_is_allowed_when_it_is_given() -> None:
    async with page_of(one=made(), allowed=("flows.example",)) as page, client_of(page) as client:
        assert (
            await client.get("api/page", headers={"host": "flows.example", "origin": "https://flows.example"})
        ).status_code == 200


async def test_every_answer_forbids_what_it_can_and_frames_are_sandboxed_by_themselves() -> None:
    async with page_of(one=made()) as page, client_of(page) as client:
        for path in ("", "api/sessions", "static/main.js", "nothing"):
            policy = (await client.get(path)).headers["content-security-policy"]
            assert (
                "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
            )
        [preview] = (await client.get("api/sessions/one/previews")).json()["previews"]
        frame = await client.get(f"frame/one/{preview['place']}")
        policy = frame.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'") and "connect-src" not in policy
        assert frame.text.endswith("<b>bold</b>")
        asked = await client.get(f"frame/one/{preview['place']}?scripts=1")
        assert asked.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
        assert asked.headers["cache-control"] == "no-store"
        allowed = await client.get(f"frame/one/{preview['place']}?network=1")
        assert allowed.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src https:")
        assert allowed.headers["cache-control"] == "no-store"


def test_keys_are_worth_something_once_and_cookies_until_they_leave() -> None:
    keys = Keys(None)
    key = keys.one_time()
    cookie = keys.enter(key)
    assert cookie is not None and keys.is_in(cookie) and keys.enter(key) is None
    assert keys.enter(token="") is None and not keys.is_in("") and not keys.has_token
    keys.leave(cookie)
    assert not keys.is_in(cookie)


async def test_wrong_keys_which_any_site_can_send_keep_nobody_out() -> None:
    async with page_of(one=made(), token="right") as page, httpx.AsyncClient(base_url=page.url) as client:
        other = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        for number in range(30):
            assert (await client.get("enter", params={"key": f"{number}"}, headers=other)).status_code == 401
        own = {"origin": page.url.rstrip("/")}
        assert (await client.post("login", data={"token": "right"}, headers=own)).status_code == 200
        # The other way round: who guesses tokens doesn't keep out whoever has the printed address.
        for number in range(12):
            await client.post("login", data={"token": f"{number}"}, headers=own)
        async with client_of(page) as second:
            assert (await second.get("api/page")).status_code == 200


async def test_a_login_of_another_page_or_that_is_no_form_lets_nobody_in() -> None:
    async with page_of(one=made(), token="right") as page, httpx.AsyncClient(base_url=page.url) as client:
        for headers in ({}, {"origin": "null"}, {"origin": "https://evil.example"}, {"origin": "http://127.0.0.1"}):
            answer = await client.post("login", data={"token": "right"}, headers=headers)
            assert answer.status_code == 403 and "set-cookie" not in answer.headers, headers
        own = {"origin": page.url.rstrip("/")}
        for content in (b"token=right&a&b&c&d&e", b"token=right" + b"&a=1" * 900):
            answer = await client.post("login", content=content, headers=own)
            assert answer.status_code == 400 and "set-cookie" not in answer.headers, answer.text
        for content in (b"token=%ff%00", b"\xff\xfe", b"", b"token"):
            assert (await client.post("login", content=content, headers=own)).status_code == 401, content
        assert (await client.get("login", params={"token": "right"})).status_code == 401, "never by an address"


async def test_cookies_of_others_on_this_host_keep_nobody_out() -> None:
    async with page_of(one=made()) as page, client_of(page) as client:
        [(name, value)] = client.cookies.items()
        for others in ('{"a": [1, "b;c"]}=x', "path=/", "expires=never", "=", "a=\x80ö", '"', f"{name}x={value}"):
            headers = {b"cookie": f"{others}; {name}={value}; {others}".encode()}
            async with httpx.AsyncClient(base_url=page.url, headers=headers) as other:
                assert (await other.get("api/page")).status_code == 200, others


@pytest.mark.parametrize(
    ("headers", "secure"), [({}, False), ({"x-forwarded-proto": "https"}, True), ({"origin": "https://it"}, True)]
)
async def test_a_cookie_that_came_by_tls_never_goes_without(headers: dict[str, str], secure: bool) -> None:
    async with (
        page_of(one=made(), token="right", allowed=("it",)) as page,
        httpx.AsyncClient(base_url=page.url) as client,
    ):
        own = {"host": "it", "origin": "http://it"} | headers
        answer = await client.post("login", data={"token": "right"}, headers=own)
        assert ("secure" in answer.headers["set-cookie"].lower()) is secure
