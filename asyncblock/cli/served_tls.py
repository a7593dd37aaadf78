"""The certificate that a mainframe shows. It is read again when its files change, so that renewing it needs no restart.

Open connections keep the certificate with which they began.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from ..errors import Unavailable

__all__ = ["served_tls"]

logger = logging.getLogger("asyncblock.server")


def served_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return a server's TLS settings with this certificate. Raises ``Unavailable`` when it can't be read."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Unavailable("TLS needs both --tls-cert and --tls-key")
    try:
        return _Renewed(cert, key).context
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"can't read the certificate {cert} with the key {key}: {error}") from error


class _Renewed:
    """Looks at the files with each handshake, which costs a hundredth of it."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._files = (cert, key)
        self._stamp = self._stamp_now()
        self._current = self.context = self._read()
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                # Noted before it is read, which may fail: while one of the two files is new, they don't match. The
                # second file is another change.
                self._stamp = stamp
                self._current = self._read()
                logger.info("the certificate %s was replaced; connections that come have the new one", self._files[0])
        except (OSError, ssl.SSLError) as error:
            words = "the certificate %s with the key %s can't be read, so the last one that could is shown: %s"
            logger.warning(words, *self._files, error)
        connection.context = self._current

    def _stamp_now(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in map(os.stat, self._files))

    def _read(self) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(*self._files)
        return made
