"""A mainframe with an executor as in ``docs/deploy``'s container: as PID 1, on a read-only root, with 64 MB of shared
memory. By the kernel's namespaces, for which no container engine is needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from ..processes import free_port, run, start

INSIDE = """
set -e
mount --bind "$STATE" "$STATE"
mount -t tmpfs -o size=64m none /dev/shm
mount -o remount,ro,bind /
! touch /etc/asyncblock-test 2> "$STATE/refused"
exec "$@"
"""
UNSHARE = ("unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child")


def may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="namespaces aren't allowed here")
async def test_it_serves_and_runs_blocks_as_pid_1_on_a_read_only_root_and_leaves_when_told(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        port = free_port()
        under = (*UNSHARE, "sh", "-c", INSIDE, "sh")
        arguments = ("serve", "--port", str(port), "--workers", "1")
        environment = {"STATE": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path)}
        served = await stack.enter_async_context(start(*arguments, state=tmp_path, under=under, **environment))
        await served.until_line("mainframe at", err=True)
        assert "Read-only file system" in (tmp_path / "refused").read_text()
        done = await run("submit", "files", "--json", "--url", f"ws://127.0.0.1:{port}", state=tmp_path)
        assert done.process.returncode == 0, done.err
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
        outer = served.process.pid
        [first] = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        status = Path(f"/proc/{first}/status").read_text()
        assert "NSpid:" in status
        assert status.partition("NSpid:")[2].split("\n")[0].split()[-1] == "1"
        os.kill(int(first), signal.SIGTERM)
        assert await served.wait() == 0
