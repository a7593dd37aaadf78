"""The pages that need no script: the form for the token, and the step from the one-time address to the page."""

from __future__ import annotations

import re
from importlib.resources import files

from ..client.many import is_group
from ..page.markup import Markup, el

__all__ = ["asset", "entered", "login_form"]

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def asset(name: str) -> bytes:
    """Return a file of the page."""
    return (files(__package__) / "static" / name).read_bytes()


def login_form(has_token: bool, wrong: str | None = None) -> str:
    """Return the page for those who aren't in."""
    if has_token:
        words = (
            "Open the address that the command printed; it works once. Or give the token with which the page was "
            "started (on the mainframe's machine the file 'token' in its data directory has one)."
        )
    else:
        words = "Open the address that the command printed. It works once; start the command again for another one."
    form = el(
        "form",
        el("label", "Token", for_="token"),
        el(
            "input",
            id="token",
            name="token",
            type="password",
            autocomplete="current-password",
            required=True,
            autofocus=True,
        ),
        el("button", "Log in", type="submit"),
        method="post",
        action="login",
    )
    problem = el("p", wrong, class_="notice", role="alert") if wrong else None
    return _whole(
        el("main", el("h1", "asyncblock"), problem, el("p", words), form if has_token else None, class_="login")
    )


def entered(to: str) -> str:
    """Return a page that goes on to the page itself, or to a session or a group in it."""
    place = f"./#/?text={to}&open={to}" if is_group(to) else f"./#/s/{to}" if _ID.match(to) else "./"
    link = el("p", el("a", "asyncblock", href=place))
    return _whole(link, el("meta", http_equiv="refresh", content=f"0;url={place}"))


def _whole(body: Markup, more: Markup | None = None) -> str:
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", "asyncblock"),
        el("link", rel="icon", href="static/icon.svg"),
        el("link", rel="stylesheet", href="static/report.css"),
        el("link", rel="stylesheet", href="static/page.css"),
        more,
    )
    return f"<!doctype html>\n{el('html', head, el('body', body), lang='en')}\n"
