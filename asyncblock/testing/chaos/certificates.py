"""Certificates for the mainframe under chaos: an authority of its own, and one certificate after the other."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

__all__ = ["Certificates"]


class Certificates:
    """Makes them with the command ``openssl``."""

    def __init__(self, directory: Path, faketime: str | None) -> None:
        directory.mkdir()
        self._directory = directory
        self._faketime = faketime
        self.authority = directory / "authority.pem"
        self.served = directory / "served.pem"
        self.key = directory / "served.key"
        self.made = 0
        # Without the key usage Python 3.13's default context, which is strict, doesn't take it for an authority.
        subject = ("-subj", "/CN=asyncblock chaos", "-days", "30", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._run("req", "-x509", *_KEY, "-keyout", "authority.key", "-out", "authority.pem", *subject)
        self.renew()

    def renew(self) -> None:
        """Make another certificate and put it in the place of the last one: first itself, then its key."""
        self.made += 1
        (self._directory / "names").write_text(_NAMES)
        subject = ("-subj", f"/CN=mainframe {self.made}")
        self._run("req", *_KEY, "-keyout", "new.key", "-out", "new.csr", *subject)
        signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "365")
        self._run("x509", "-req", "-in", "new.csr", "-out", "new.pem", *signed, "-extfile", "names")
        (self._directory / "new.pem").replace(self.served)
        (self._directory / "new.key").replace(self.key)

    def client(self) -> ssl.SSLContext:
        """Return what a client needs that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.authority))

    def _run(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _CLOCKS}
        if self._faketime is not None:
            # Valid since days ago: clocks that are set back by hours are no reason to refuse it.
            environment |= {"LD_PRELOAD": self._faketime, "FAKETIME": "-10d"}
        subprocess.run(["openssl", *arguments], cwd=self._directory, check=True, capture_output=True, env=environment)


_CLOCKS = frozenset({"LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_CACHE_DURATION"})
"""Of the environment, what says which time it is to the processes under chaos."""

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NAMES = "subjectAltName=IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
