"""Who may do what: bearer tokens with roles. Tokens are compared in constant time and never logged.

Roles: an ``executor`` may run blocks, a ``client`` may start, cancel and watch sessions, an ``observer`` may watch.
A token file has one token a line, followed by its roles (``TOKEN executor,client``); ``#`` begins a comment. It is read
again when it changes, so that tokens can be rotated without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import Unavailable

__all__ = ["ALL_ROLES", "ROLES", "Access", "hash_token"]

ROLES = ("executor", "client", "observer")
ALL_ROLES = frozenset(ROLES)


def hash_token(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


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
        if self._file is not None:
            self._reload()
        digest = hash_token(token)
        found: frozenset[str] | None = None
        # Every entry is compared, so that the time says nothing about which one is near.
        for known, roles in (*self._own.items(), *self._from_file.items()):
            if hmac.compare_digest(known, digest):
                found = roles
        return found

    def roles_of_headers(self, headers: Mapping[str, str]) -> frozenset[str] | None:
        """Return the roles of a request by its ``Authorization`` header."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return self.roles(token.strip()) if scheme.lower() == "bearer" else None

    def _reload(self) -> None:
        assert self._file is not None
        try:
            stat = os.stat(self._file)
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            text = self._file.read_text("utf-8")
        except OSError as error:
            if self._stamp is not None:
                return  # the file is being replaced: what was read last stays valid
            raise Unavailable(f"can't read the token file {self._file}: {error.strerror}") from error
        self._from_file = _parse(text, self._file)
        self._stamp = stamp


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
