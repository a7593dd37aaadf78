"""The token in a directory of var values: a process that can read it belongs to the same host and the same user."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import sys
from contextlib import suppress
from typing import Final

__all__ = ["proof_of", "token_in"]

_TOKEN: Final = "host"


def proof_of(parts: list[str]) -> str:
    """Return what proves that one knows tokens, without saying them. Another environment of Python has another one."""
    return hashlib.sha256("\0".join([*parts, sys.prefix, sys.version]).encode()).hexdigest()[:32]


def token_in(base: int) -> str:
    """Return the token of a directory, made if need be: linked into its place whole, so that all read the same."""
    with suppress(FileNotFoundError):
        return _read_token(base)
    draft = f"{_TOKEN}.{secrets.token_hex(8)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=base)
    try:
        try:
            os.write(fd, secrets.token_hex(32).encode())
        finally:
            os.close(fd)
        with suppress(FileExistsError):
            os.link(draft, _TOKEN, src_dir_fd=base, dst_dir_fd=base)
    finally:
        os.unlink(draft, dir_fd=base)
    return _read_token(base)


def _read_token(base: int) -> str:
    fd = os.open(_TOKEN, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise PermissionError("the token of the directory of var values isn't this user's alone")
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)
