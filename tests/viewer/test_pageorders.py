"""Who may order what of the page."""

from __future__ import annotations

from pathlib import Path

import asyncblock

from .served import client_of, page_of
from .test_again import greets


async def test_an_observers_page_starts_nothing(tmp_path: Path) -> None:
    path = greets(tmp_path)
    async with asyncblock.embedded() as mainframe, page_of(mainframe, roles=("observer",)) as page:
        session = await mainframe.start(path, {"name": "Zoë"})
        await session.wait()
        async with client_of(page) as client:
            for answer in (
                await client.get(f"api/sessions/{session.session_id}/again"),
                await client.post(
                    f"api/sessions/{session.session_id}/again", json={}, headers={"origin": page.url.rstrip("/")}
                ),
            ):
                assert answer.status_code == 403, answer.text
