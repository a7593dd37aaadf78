"""Who may do what: bearer tokens with roles. Tokens are compared in constant time and never logged.

Roles: an ``executor`` may run blocks, a ``client`` may start, cancel and watch sessions, an ``observer`` may watch.
A token file has one token a line, followed by its roles (``TOKEN executor,client``); ``#`` begins a comment. It is read
again when it changes, so that tokens can be rotated without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import Unavailable

__all__ = ["ALL_ROLES", "ROLES", "Access", "Principal", "barred", "hash_token"]

logger = logging.getLogger("asyncblock.server")

ROLES = ("executor", "client", "observer")
ALL_ROLES = frozenset(ROLES)

_OF_EXECUTORS = frozenset({"batch", "chunk", "whole", "discard", "stalled", "gone"})
"""What only those send who run blocks. The rest is for everybody, or has its own answer for who may not."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who has come in: the roles of its token, and how to ask for those that the token has at the moment."""

    roles: frozenset[str]
    present: Callable[[], frozenset[str] | None] | None = None
    """None for those who came without a token, in this process."""

    @property
    def change(self) -> str | None:
        """Say why this connection can't go on: its token is no longer known, or has other roles; None if it can."""
        if self.present is None:
            return None
        roles = self.present()
        if roles is None:
            return "its token isn't valid any more"
        return None if roles == self.roles else "the roles of its token have changed"


def barred(roles: frozenset[str]) -> frozenset[str]:
    """Return the messages that these roles may not send."""
    return frozenset() if "executor" in roles else _OF_EXECUTORS


def hash_token(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Access:
    """The tokens of a mainframe: one of its own with all roles, and those of a token file."""

    def __init__(self, own_token: str | None, token_file: Path | None = None) -> None:
        self._own = {hash_token(own_token): ALL_ROLES} if own_token else {}
        self._file = token_file
        self._stamp: tuple[int, int] | None = None
        self._from_file: dict[str, frozenset[str]] = {}
        if token_file is not None:
            self._reload()

    def roles(self, token: str | None) -> frozenset[str] | None:
        """Return the roles of a token, or None when it isn't known."""
        if token is None:
            return None
        return self._roles_of(hash_token(token))

    def _roles_of(self, digest: str) -> frozenset[str] | None:
        if self._file is not None:
            self._reload()
        found: frozenset[str] | None = None
        # Every entry is compared, so that the time says nothing about which one is near.
        for known, roles in (*self._own.items(), *self._from_file.items()):
            if hmac.compare_digest(known, digest):
                found = roles
        return found

    def principal(self, headers: Mapping[str, str]) -> Principal | None:
        """Return who asks, by the ``Authorization`` header, or None without a known token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        digest = hash_token(token.strip())
        roles = self._roles_of(digest)
        return None if roles is None else Principal(roles, lambda: self._roles_of(digest))

    def _reload(self) -> None:
        assert self._file is not None
        try:
            stat = os.stat(self._file)
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            text = self._file.read_text("utf-8", "replace")
        except OSError as error:
            if self._stamp is not None:
                return  # the file is being replaced: what was read last stays valid
            raise Unavailable(f"can't read the token file {self._file}: {error.strerror}") from error
        try:
            self._check_mode(stat.st_mode)
            self._from_file = _parse(text, self._file)
        except Unavailable as error:
            if self._stamp is None:
                raise
            # Half written, or a slip: what was read last stays valid, and it is said once.
            logger.error("%s; the tokens from before stay valid", error)
        self._stamp = stamp

    def _check_mode(self, mode: int) -> None:
        """Refuse a file into which everybody may write tokens; warn of one that everybody may read."""
        if mode & 0o002:
            words = f"{self._file} may be written by everyone, and so be given tokens: chmod o-w {self._file}"
            raise Unavailable(words)
        if mode & 0o004 and self._stamp is None:
            logger.warning("the tokens in %s may be read by everybody on this machine: chmod o-r", self._file)


def _parse(text: str, path: Path) -> dict[str, frozenset[str]]:
    tokens: dict[str, frozenset[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        roles = frozenset(",".join(fields[1:]).replace(",", " ").split())
        if not roles or not roles <= ALL_ROLES:
            raise Unavailable(f"{path}:{number}: a token is followed by its roles ({', '.join(ROLES)})")
        tokens[hash_token(fields[0])] = roles
    return tokens
