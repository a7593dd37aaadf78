"""The doctor: one finding after the other from the address to the disk, each "ok" or what to do about it."""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from .._version import installed_version
from ..client import connect
from ..errors import (
    AsyncBlockError,
    ConnectionLost,
    LocalProtocolError,
    Rejected,
    RemoteProtocolError,
    Unauthorized,
    Unavailable,
)
from ..resources import Resources
from ..transport.addresses import addresses_of, shown_url, split_address
from ..transport.websocket import is_loopback
from .targets import COMMAND_TIMEOUT, Target

__all__ = ["Finding", "examine", "findings_of", "proxy_of", "validity"]

MAX_SKEW = 5.0
"""Seconds between two clocks beyond which times in events confuse people. Nothing else depends on clocks."""

_SHOWN = 5
"""Offers, and kinds of jobs, that are named."""

MIN_FREE = 1 << 30
"""Bytes on the journal's disk below which somebody should act: the journal stops intake when it is full."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has found."""

    name: str
    ok: bool
    words: str
    """What is there; when it isn't well, what to do."""


async def examine(target: Target) -> AsyncIterator[Finding]:
    """Examine everything that can be examined; stop at a finding that makes the next ones impossible.

    Of a set, every address is examined, and then the mainframe that serves.
    """
    try:
        url, token = target.address()
        headers, tls = target.headers(), target.tls()
        urls = addresses_of(url)
    except (Unavailable, LocalProtocolError) as error:
        yield Finding("address", False, str(error))
        return
    if len(urls) > 1:
        for each in urls:
            async for finding in _way_to(each, tls, headers):
                yield finding
        async for finding in _inside(url, token, tls, headers, None, answered=True):
            yield finding
        return
    last: Finding | None = None
    async for last in _way_to(url, tls, headers):
        yield last
    if last is None or last.name != "health":
        # It didn't come that far.
        return
    parts = split_address(url)
    proxy = proxy_of(parts.scheme, parts.hostname or "")
    async for finding in _inside(url, token, tls, headers, proxy, answered=last.ok):
        yield finding


async def _way_to(url: str, tls: ssl.SSLContext | None, headers: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Examine the way to an address step by step, up to the first that fails."""
    parts = split_address(url)
    host, port = parts.hostname or "", _port(parts.scheme, parts.port)
    proxy = proxy_of(parts.scheme, host)
    reached = await _reach(shown_url(url), host, port, proxy)
    yield reached
    if not reached.ok:
        return
    secure = await _tls(shown_url(url), host, port, tls, proxy)
    yield secure
    if not secure.ok and parts.scheme == "wss":
        return
    yield await asyncio.to_thread(_health, url, tls, headers)


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "wss" else 80)


def proxy_of(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment asks for: the websocket goes through it too."""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    known = urllib.request.getproxies()
    names = ("wss", "socks", "https") if scheme == "wss" else ("ws", "socks", "https", "http")
    return next((known[name] for name in names if name in known), None)


async def _reach(url: str, host: str, port: int, proxy: str | None) -> Finding:
    if proxy is not None:
        return Finding("address", True, f"{url}, through the proxy {shown_url(proxy)} (NO_PROXY={host} goes around it)")
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or "nothing answered in time"
        return Finding("address", False, f"{url}: {why}; is 'asyncblock serve' running there, and the port open?")
    writer.close()
    return Finding("address", True, url)


async def _tls(url: str, host: str, port: int, tls: ssl.SSLContext | None, proxy: str | None) -> Finding:
    if not url.startswith("wss:"):
        if is_loopback(host):
            return Finding("tls", True, "none, and none is needed on this machine")
        return Finding(
            "tls", False, "none: anyone on the network path can read the token; serve with --tls-cert, use wss://"
        )
    if proxy is not None:
        return Finding("tls", True, "wss://; the certificate is checked with the websocket, behind the proxy")
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT):
            context = tls or ssl.create_default_context()
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        hint = "renew it" if "expired" in error.verify_message else "give --tls-ca FILE if the authority is your own"
        return Finding("tls", False, f"the certificate is refused: {error.verify_message}; {hint}")
    except (OSError, TimeoutError) as error:
        return Finding("tls", False, f"no TLS at {url}: {str(error) or 'no answer'}; does it serve ws:// instead?")
    certificate = writer.get_extra_info("peercert") or {}
    writer.close()
    return validity(certificate, time.time())


def validity(certificate: dict[str, Any], now: float) -> Finding:
    """Judge how long a certificate has to live."""
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now) / 86400
    words = f"certificate valid for {days:.0f} more days"
    return Finding("tls", days > 14, words if days > 14 else f"{words}; renew it")


def _health(url: str, tls: ssl.SSLContext | None, headers: Mapping[str, str]) -> Finding:
    """Ask /healthz over plain HTTP, the way a load balancer does."""
    address = url.partition("?")[0].replace("ws", "http", 1).rstrip("/") + "/healthz"
    request = urllib.request.Request(address)
    for name, value in headers.items():
        # For this host, not for one that it may redirect to.
        request.add_unredirected_header(name, value)
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=tls)] if tls else []
    if is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=COMMAND_TIMEOUT) as answer:
            said = orjson.loads(answer.read(1 << 16))
        return Finding("health", True, f"{address} says {said['status']}")
    except urllib.error.HTTPError as error:
        text = error.read(1 << 12).decode("utf-8", "replace").strip()
        return Finding("health", False, f"{address} answers HTTP {error.code}: {text:.300}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding("health", False, f"{address} gives no answer of a mainframe: {error}")


async def _inside(
    url: str,
    token: str | None,
    tls: ssl.SSLContext | None,
    headers: Mapping[str, str],
    proxy: str | None,
    *,
    answered: bool,
) -> AsyncIterator[Finding]:
    """Connect as any client does, and ask the mainframe about itself."""
    try:
        async with connect(url, token, timeout=COMMAND_TIMEOUT, tls=tls, headers=headers) as mainframe:
            began = time.time()
            info = await mainframe.info()
            ended = time.time()
    except Unauthorized as error:
        yield Finding("websocket", True, "upgraded")
        yield Finding("token", False, f"{error}; give --token or ASYNCBLOCK_TOKEN (serve's is in its data directory)")
        return
    except AsyncBlockError as error:
        yield Finding("websocket", False, _no_upgrade(error, proxy, answered))
        return
    yield Finding("websocket", True, f"upgraded, an answer took {(ended - began) * 1000:.1f} ms")
    for finding in findings_of(info, (began + ended) / 2):
        yield finding


def _no_upgrade(error: AsyncBlockError, proxy: str | None, answered: bool) -> str:
    if isinstance(error, RemoteProtocolError):
        return f"{error}; install the same version at both ends (here: {installed_version()})"
    if proxy is not None:
        return f"{error}; let the proxy {shown_url(proxy)} pass CONNECT to that port, or set NO_PROXY"
    if answered and isinstance(error, (ConnectionLost, Rejected)):
        return f"{error}; HTTP gets through but the upgrade doesn't: let the reverse proxy pass 'Upgrade: websocket'"
    return str(error)


def findings_of(info: dict[str, Any], here: float) -> Iterator[Finding]:
    """Judge what a mainframe says of itself, asked at a time of this machine's clock."""
    journal = info["journal"]
    yield Finding("version", info["version"] == installed_version(), _version(info["version"]))
    roles = info["roles"]
    yield Finding("token", True, f"roles: {', '.join(roles)}")
    skew = info["now"] / 1000 - here
    words = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    yield Finding(
        "clock", abs(skew) <= MAX_SKEW, words if abs(skew) <= MAX_SKEW else f"{words}; run a time service (NTP) on both"
    )
    yield _limits(info)
    yield _disk(journal)
    yield _journal(journal)
    yield _executors(info)
    if info.get("in_vain"):
        yield _in_vain(info["in_vain"])
    if "var_values" in info:
        yield _var_values(info["var_values"])


def _version(theirs: str) -> str:
    ours = installed_version()
    return theirs if theirs == ours else f"the mainframe has {theirs}, this is {ours}; update the older one"


def _limits(info: dict[str, Any]) -> Finding:
    limits, running = info["limits"], info["sessions"]["running"]
    room = running < limits["sessions"] * 0.9
    words = f"messages up to {_size(limits['message'])}, {running} of {limits['sessions']} sessions run"
    return Finding("limits", room, words if room else f"{words}; cancel some or serve another mainframe")


def _disk(journal: dict[str, Any]) -> Finding:
    free = journal["free_bytes"]
    words = f"{_size(free)} free"
    return Finding(
        "disk", free >= MIN_FREE, words if free >= MIN_FREE else f"{words}; make room: asyncblock sessions prune"
    )


def _journal(journal: dict[str, Any]) -> Finding:
    size = _size(journal["database_bytes"] + journal["wal_bytes"])
    words = f"epoch {journal['epoch']}, {size}, synchronous={journal['synchronous']}"
    trouble = journal["trouble"]
    return Finding(
        "journal", trouble is None, words if trouble is None else f"{words}; nothing is stored now: {trouble}"
    )


def _executors(info: dict[str, Any]) -> Finding:
    count = info["executors"]
    hint = "" if count else "; no job can run: start 'asyncblock executor'"
    offers = [Resources.of({k: v for k, v in each.items() if k != "packages"}) for each in info.get("offers", ())]
    told = sorted({str(each) for each in offers if each})
    offered = f"; they offer {' | '.join(told[:_SHOWN])}{' | ...' if len(told) > _SHOWN else ''}" if told else ""
    return Finding("executors", count > 0, f"{count} connected{offered}{hint}")


def _in_vain(kinds: list[dict[str, Any]]) -> Finding:
    """Say which jobs wait for something that no executor has."""
    said = []
    for each in kinds[:_SHOWN]:
        needs = Resources.of(each["needs"])
        jobs = f"{each['jobs']} job{'s' if each['jobs'] > 1 else ''} of {each['package']}"
        version = f" (version {each['version'][:12]})" if each["version"] else ""
        said.append(f"{jobs}{version}" + (f", which need {needs}" if needs else ""))
    more = f", and {len(kinds) - _SHOWN} more kinds" if len(kinds) > _SHOWN else ""
    words = f"no executor can run {'; '.join(said)}{more}; 'asyncblock watch SESSION' says why, and which to start"
    return Finding("waiting", False, words)


def _var_values(values: dict[str, Any]) -> Finding:
    held, limit = values["held_bytes"], values["limit_bytes"]
    on_disk, disk_limit = values.get("disk_bytes", 0), values.get("disk_limit_bytes", 0)
    words = f"{_size(held)} of {_size(limit)} of var values in the executors' memory"
    if on_disk:
        words += f", {_size(on_disk)} of {_size(disk_limit)} on their disks"
    full = "; blocks wait to put out more: consumers are slow, or raise ASYNCBLOCK_VAR_MEMORY or ASYNCBLOCK_VAR_DISK"
    return Finding("values", not held or held < limit, words if not held or held < limit else f"{words}{full}")


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
