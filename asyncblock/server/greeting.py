"""Who says Hello, and what it may claim: everything is checked here before anything is changed.

A claim about a link (to continue it, to tell of its end) is proved by that link's secret or token, of which the
mainframe keeps a hash. The id of a link is no proof: it stands in the journal, for every observer to read.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Any

from ..errors import RemoteProtocolError
from ..wire.messages import VERSION, Bye, Hello
from .jobstate.jobs import LinkState
from .peers.access import hash_token
from .peers.connection import Dismissed
from .serverlimits import MAX_CHANNELS, MAX_DEAD, MAX_WORDS

__all__ = ["check", "check_roles", "claimed", "dead_links", "proof", "turn_away"]

_NAME = re.compile(r"(?!mainframe-)[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
"""What may name a link: its bodies are kept in a directory of that name. Those of the mainframe's own have others."""

_SECRET = range(16, 201)
"""Characters of a secret: shorter ones can be guessed, longer ones are a slip."""


def turn_away(code: str, reason: str, *, stop: bool = True, retry_after: float | None = None) -> Dismissed:
    """Return the goodbye with which a connection is turned away."""
    return Dismissed(Bye(code, reason, stop=stop, retry_after=retry_after))


def check(hello: Hello) -> None:
    """Check what will name rows and files, or be written as numbers. Raises ``RemoteProtocolError``."""
    if not _NAME.fullmatch(hello.link):
        raise RemoteProtocolError(
            f"{hello.link[:100]!r} can't name a link: 1 to 100 letters, digits, '-' and '_', not 'mainframe-' first"
        )
    if len(hello.boot) > MAX_WORDS or not 0 <= hello.generation < 1 << 53:
        raise RemoteProtocolError("'hello': boot or generation is out of bounds")
    if not 1 <= hello.next_channel < 1 << 53:
        raise RemoteProtocolError("'hello': next_channel is out of bounds")
    if hello.secret is not None and len(hello.secret) not in _SECRET:
        raise RemoteProtocolError(f"'hello': a secret has {_SECRET[0]} to {_SECRET[-1]} characters")
    if len(hello.channels) > MAX_CHANNELS:
        raise RemoteProtocolError(f"'hello': {len(hello.channels)} channels are named; {MAX_CHANNELS} may be")
    _said_to_be_dead(hello.replaces)


def check_roles(hello: Hello, roles: frozenset[str]) -> None:
    """Turn a Hello away that claims what its token doesn't allow."""
    if hello.version != VERSION:
        raise turn_away("version", f"this mainframe speaks version {VERSION}, not {hello.version}; update one")
    if "executor" in roles:
        return
    if hello.executor is not None:
        raise turn_away("unauthorized", "this token may not run blocks")
    if hello.channels or hello.replaces is not None:
        raise turn_away("unauthorized", "this token may neither hold jobs nor report the end of links that do")


def claimed(hello: Hello, link: LinkState | None, asked: str | None) -> LinkState | None:
    """Return the known link that a Hello is of, and proves to be; None for a new one.

    ``asked`` is the secret of a process that was asked for under its id.
    """
    if link is not None and (link.number or link.load):
        if proof(link, hello.token, hello.secret) is None:
            raise turn_away(
                "unauthorized",
                f"link {hello.link} belongs to another peer: this Hello has neither its token nor its secret. "
                "Use a new id for a link of your own",
            )
        return link
    if asked is not None and not hmac.compare_digest(hash_token(asked), hash_token(hello.secret or "")):
        raise turn_away("unauthorized", f"link {hello.link} is for a process that was given its secret")
    return None


def proof(link: LinkState, *claims: object) -> str | None:
    """Return which of the claims is the secret or token of a link."""
    for claim in claims:
        if isinstance(claim, str) and hmac.compare_digest(hash_token(claim), link.token_hash):
            return claim
    return None


def dead_links(hello: Hello, links: Mapping[str, LinkState]) -> list[tuple[LinkState, str]]:
    """Return which of the known links have ended, and why, as a Hello says and proves."""
    found = []
    for dead in _said_to_be_dead(hello.replaces):
        link = links.get(dead["link"])
        if link is None or link.link_id == hello.link:
            continue
        if proof(link, dead.get("secret"), dead.get("token")) is None:
            raise turn_away(
                "unauthorized", f"the end of link {link.link_id} is reported without its secret: 'replaces.secret'"
            )
        found.append((link, dead.get("reason", "its process has ended")[:MAX_WORDS]))
    return found


def _said_to_be_dead(replaces: dict[str, Any] | None) -> list[Any]:
    if replaces is None:
        return []
    before = replaces.get("before", [])
    if len(before) > MAX_DEAD:
        raise RemoteProtocolError(f"'hello': 'replaces.before' is a list of at most {MAX_DEAD}")
    return [*before, replaces]
