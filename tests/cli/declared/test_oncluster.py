from __future__ import annotations

from pathlib import Path

import pytest

from ...processes import run


@pytest.mark.parametrize("command", ["init", "status", "hand-over", "import"])
async def test_what_is_missing_is_asked_for(command: str, tmp_path: Path) -> None:
    nothing = await run("cluster", command, "--name", "s", state=tmp_path)
    assert nothing.process.returncode == 2
    assert "SERVERS" in "\n".join(nothing.err)
    directory = ("directory",) if command == "import" else ()
    nameless = await run("cluster", command, "nats://127.0.0.1:1", *directory, state=tmp_path)
    assert nameless.process.returncode == 2
    assert "--name" in "\n".join(nameless.err)
