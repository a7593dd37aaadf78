"""A real nginx in front of a real mainframe."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..processes import free_port

__all__ = ["Nginx", "nginx"]

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"

CONFIG = """
daemon off;
error_log stderr warn;
pid {place}/pid;
events {{ worker_connections 64; }}
http {{
    log_format status '$status';
    access_log {place}/access.log status;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {body}
    }}
}}
"""

PASS = """
        proxy_pass http://127.0.0.1:{upstream}/;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
"""


class Nginx:
    """A running nginx; ``configure`` changes what it does while it runs."""

    def __init__(self, place: Path, upstream: int) -> None:
        self.place = place
        self.port = free_port()
        self.upstream = upstream
        self._process: asyncio.subprocess.Process | None = None

    @property
    def passing(self) -> str:
        """The lines of a location that passes websockets on."""
        return PASS.format(upstream=self.upstream)

    def write(self, body: str) -> None:
        """Write the configuration."""
        (self.place / "nginx.conf").write_text(CONFIG.format(place=self.place, port=self.port, body=body))

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(NGINX, "-p", str(self.place), "-c", "nginx.conf")
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                except OSError:
                    await asyncio.sleep(0.02)

    async def until_answered(self, status: int) -> None:
        """Wait until it has answered somebody with a status since it was configured."""
        async with asyncio.timeout(30):
            while str(status) not in self._log.read_text().split():  # noqa: ASYNC110  # a file tells nobody of it
                await asyncio.sleep(0.02)

    @property
    def _log(self) -> Path:
        return self.place / "access.log"

    async def configure(self, body: str) -> None:
        """Begin anew with another configuration: connections that are open end."""
        await self.stop()
        self.write(body)
        self._log.unlink(missing_ok=True)
        self._log.touch()
        await self.start()

    async def stop(self) -> None:
        """End it, and all that goes through it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


@asynccontextmanager
async def nginx(place: Path, upstream: int, body: str) -> AsyncIterator[Nginx]:
    """Run nginx for the duration of the block; ``PASS`` in ``body`` stands for what passes websockets on."""
    place.mkdir()
    proxy = Nginx(place, upstream)
    proxy.write(body.replace("PASS", proxy.passing))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
