"""Certificates of chaos: each is another one, and whoever trusts the authority takes it."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from asyncblock.testing.chaos.certificates import Certificates


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
def test_a_renewed_certificate_is_another_one_that_clients_of_the_authority_take(tmp_path: Path) -> None:
    made = Certificates(tmp_path / "made", None)
    names = []
    for _ in range(2):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(made.served, made.key)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = server.wrap_bio(to_server, to_client, server_side=True)
        ours = made.client().wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
        for side in (ours, theirs, ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        shown = ours.getpeercert()
        assert shown is not None
        names.append(shown["subject"])
        made.renew()
    assert names[0] != names[1]
