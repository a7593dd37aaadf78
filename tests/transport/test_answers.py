"""Whose word an HTTP answer is: only the mainframe's own is final."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers

from asyncblock.errors import AsyncBlockError, ConnectionLost, LocalProtocolError, Rejected, Unauthorized
from asyncblock.transport.answers import OWN_HEADER, Answer, redirect_of, refusal, shown_url
from asyncblock.transport.websocket import SUBPROTOCOL, headers_of

URL = "ws://mainframe.example:7788/team"
OWN = {OWN_HEADER: SUBPROTOCOL}
PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>" + b"<p>sorry</p>" * 1000


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, Headers({name.replace("_", "-"): value for name, value in headers.items()}), body)


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (answer(401, b"a valid token is needed", **OWN), Unauthorized, "refused the token: a valid token is needed"),
        (answer(403, Server="asyncblock"), Unauthorized, "refused the token: Forbidden"),
        (answer(401, PAGE, Server="nginx"), ConnectionLost, "not by the mainframe's word: 502 Bad Gateway"),
        (answer(407), ConnectionLost, "ASYNCBLOCK_HEADERS"),
        (answer(503, b"full", **OWN), ConnectionLost, "isn't accepting connections now: full"),
        (answer(502, PAGE, Content_Type="text/html"), ConnectionLost, "502 Bad Gateway"),
        (answer(404, b"nothing here"), Rejected, "Is it the right address"),
        (answer(200, b"hello"), Rejected, "does a proxy there pass websockets"),
        (answer(302, Location="http://elsewhere.example/"), Rejected, "redirects to another host"),
        (answer(426, b"a proxy on the way has dropped it", **OWN), Rejected, "a proxy on the way has dropped it"),
        (answer(599), Rejected, "no reason given"),
    ],
)
def test_an_answer_is_final_only_by_the_mainframes_own_word(
    response: Answer, kind: type[AsyncBlockError], words: str
) -> None:
    error = refusal(URL, response, SUBPROTOCOL)
    assert type(error) is kind
    assert words in str(error)
    assert "<" not in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://mainframe.example:7788/team/", "ws://mainframe.example:7788/team/"),
        ("/team/", "ws://mainframe.example:7788/team/"),
        ("ws://mainframe.example:7788/other", "ws://mainframe.example:7788/other"),
        ("https://mainframe.example:7788/team/", None),
        ("http://mainframe.example/team/", None),
        ("http://elsewhere.example:7788/team/", None),
    ],
)
def test_redirects_are_followed_on_the_same_host_only(location: str, target: str | None) -> None:
    assert redirect_of(URL, answer(301, Location=location)) == target
    assert redirect_of(URL, answer(200, Location=location)) is None


def test_an_address_is_shown_without_user_and_password() -> None:
    assert shown_url("wss://me:secret@host:1/x") == "wss://host:1/x"
    assert shown_url(URL) == URL


def test_headers_are_read_from_lines_and_a_wrong_one_is_told_without_its_value() -> None:
    assert headers_of("X-Api-Key: a:b \n\n Other:1\n") == {"X-Api-Key": "a:b", "Other": "1"}
    for wrong in ("no colon", "a b: c", ": c"):
        with pytest.raises(LocalProtocolError, match="NAME: VALUE"):
            headers_of(wrong)
