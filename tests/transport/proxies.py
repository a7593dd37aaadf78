"""Real proxies, Debian's nginx and haproxy, in front of a real mainframe. Each says in its own words what it can do."""

from __future__ import annotations

import asyncio
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..processes import free_port
from ..waits import until_files

__all__ = ["PROXIES", "Haproxy", "Nginx", "Proxy", "proxied"]

LOGIN = "<html><title>Log in please</title></html>"
CLOSED = "<html><title>We are back soon</title></html>"


class Proxy(ABC):
    """A running proxy. What it does is named by a word: ``passing``, ``login`` and so on; ``become`` changes it."""

    program: str
    package: str

    def __init__(self, place: Path, upstream: int, certificate: Path | None = None, port: int | None = None) -> None:
        self.place = place
        self.port = port or free_port()
        self.upstream = upstream
        self.certificate = certificate
        """A PEM file with the certificate and its key: then it speaks TLS."""
        self._process: asyncio.subprocess.Process | None = None
        self._log = place / "answers"

    @classmethod
    def installed(cls) -> bool:
        """Tell whether the program is there."""
        return shutil.which(cls.program) is not None

    @property
    def url(self) -> str:
        """Where the mainframe is through it."""
        return f"{'wss' if self.certificate else 'ws'}://localhost:{self.port}"

    @abstractmethod
    def write(self, word: str) -> None:
        """Write the configuration."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Return how it is started, in the foreground."""

    async def start(self, word: str) -> None:
        """Start it and wait until it listens."""
        self.write(word)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self.command(), stdout=log, stderr=log)
        await self._listens()

    async def _listens(self) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                except OSError:
                    await asyncio.sleep(0.02)

    async def until_answered(self, status: int) -> None:
        """Wait until it has answered somebody with a status since it was last configured."""
        await self._until_said(f"status={status}")

    async def _until_said(self, words: str, times: int = 1) -> None:
        await until_files(self._log.parent, lambda: self._log.read_text().count(words) >= times)

    async def become(self, word: str) -> None:
        """Begin anew with another configuration: connections that are open end."""
        await self.stop()
        self._log.unlink(missing_ok=True)
        await self.start(word)

    @abstractmethod
    async def reload(self) -> None:
        """Read the configuration again as operators do it: connections that are open end a moment later."""

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """End it, and all that goes through it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


class Nginx(Proxy):
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    package = "nginx-light"

    def command(self) -> list[str | Path]:
        return [self.program, "-p", self.place, "-c", "nginx.conf"]

    async def reload(self) -> None:
        self.signal(signal.SIGHUP)

    def write(self, word: str) -> None:
        upstream = f"proxy_pass http://127.0.0.1:{self.upstream}/;"
        passing = (
            f"{upstream} proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
            'proxy_set_header Connection "upgrade";'
        )
        body = {
            "passing": f"location / {{ {passing} }}",
            "prefix": f"location /team/ {{ {passing} }}",
            "page": f"location /team/page/ {{ {passing} proxy_set_header Host $http_host; }}",
            "impatient": f"location / {{ proxy_read_timeout 2s; proxy_send_timeout 2s; {passing} }}",
            "dropping": f'location / {{ {upstream} proxy_http_version 1.1; proxy_set_header Connection ""; }}',
            "plain": f"location / {{ {upstream} proxy_set_header Sec-WebSocket-Key ''; }}",
            "login": f"location / {{ default_type text/html; return 401 '{LOGIN}'; }}",
            "forbidding": "location / { return 403; }",
            "closed": f"location / {{ default_type text/html; return 503 '{CLOSED}'; }}",
            "key": f'location / {{ if ($http_x_key != "open") {{ return 403; }} {passing} }}',
        }[word]
        secure = f"ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate};"
        listen = f"listen 127.0.0.1:{self.port} ssl; {secure}" if self.certificate else f"listen 127.0.0.1:{self.port};"
        temporary = " ".join(
            f"{kind}_temp_path {self.place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.place / "nginx.conf").write_text(
            f"""
            daemon off; error_log stderr warn; pid {self.place}/pid; worker_shutdown_timeout 1s;
            events {{ worker_connections 64; }}
            http {{
                log_format status 'status=$status'; access_log {self._log} status; {temporary}
                server {{ {listen} {body} }}
            }}
            """
        )


class Haproxy(Proxy):
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    package = "haproxy"

    def command(self) -> list[str | Path]:
        return [self.program, "-W", "-f", self.place / "haproxy.cfg"]

    async def _listens(self) -> None:
        await super()._listens()
        # Its worker listens before its master takes signals.
        await self._until_said("Loading success")

    async def reload(self) -> None:
        self.signal(signal.SIGUSR2)
        await self._until_said("Loading success", times=2)

    def write(self, word: str) -> None:
        rules = {
            "passing": "",
            "prefix": "http-request redirect location /team/ if { path /team }\n"
            "http-request replace-path /team/(.*) /\\1\n",
            "impatient": "",
            "dropping": "http-request del-header Upgrade\nhttp-request del-header Connection\n",
            "plain": "http-request del-header Upgrade\nhttp-request del-header Sec-WebSocket-Key\n",
            "login": f'http-request return status 401 content-type text/html string "{LOGIN}"\n',
            "forbidding": "http-request deny deny_status 403\n",
            "closed": f'http-request return status 503 content-type text/html string "{CLOSED}"\n',
            "key": "http-request deny deny_status 403 unless { req.hdr(x-key) open }\n",
        }[word]
        timeout = "2s" if word == "impatient" else "30s"
        secure = f" ssl crt {self.certificate}" if self.certificate else ""
        (self.place / "haproxy.cfg").write_text(
            "global\n  log stdout format raw local0\n  hard-stop-after 1s\n"
            f"defaults\n  mode http\n  log global\n  log-format status=%ST\n  timeout connect 5s\n"
            f"  timeout client {timeout}\n  timeout server {timeout}\n"
            f"frontend door\n  bind 127.0.0.1:{self.port}{secure}\n"
            + "".join(f"  {rule}\n" for rule in rules.splitlines())
            + f"  default_backend mainframe\nbackend mainframe\n  server one 127.0.0.1:{self.upstream}\n"
        )


PROXIES: list[type[Proxy]] = [Nginx, Haproxy]


@asynccontextmanager
async def proxied(
    kind: type[Proxy],
    place: Path,
    upstream: int,
    word: str,
    certificate: Path | None = None,
    port: int | None = None,
) -> AsyncIterator[Proxy]:
    """Run a proxy for the duration of the block."""
    place.mkdir()
    proxy = kind(place, upstream, certificate, port)
    await proxy.start(word)
    try:
        yield proxy
    finally:
        await proxy.stop()
