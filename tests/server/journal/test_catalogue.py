from __future__ import annotations

from asyncblock.server.journal import BodyKey, BodyRow, RequestRow
from asyncblock.server.journal.contract import BeginPrune
from asyncblock.server.journal.memoryjournal import MemoryStorage
from asyncblock.testing.conformance.journal import session


def test_with_a_session_goes_what_is_its_own_alone() -> None:
    catalogue = MemoryStorage()
    for number in (1, 2):
        catalogue.apply_row(session(number))
        catalogue.apply_row(RequestRow(request_id=f"r{number}", answer=b"", at=1, session_no=number))
        for n in (3, 1):
            row = BodyRow(session_no=number, link_id=f"l{number}", n=n, length=10, sha256="")
            catalogue.apply_row(row)
            # Written again it counts once.
            catalogue.apply_row(row)
    assert [row.n for row in catalogue.bodies_of(1)] == [1, 3]
    assert catalogue.described(session(1)).bytes == 20
    catalogue.apply_row(BeginPrune(1))
    assert (list(catalogue.sessions), list(catalogue.requests)) == ([2], ["r2"])
    assert list(catalogue.body_rows) == [BodyKey("l2", 3), BodyKey("l2", 1)]
    assert (catalogue.bodies_of(1), catalogue.last_session_no) == ([], 2)
