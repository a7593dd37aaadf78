#!/usr/bin/env bash
# Guess: websockets' client follows redirects (it has since 14.0: 301, 302, 303, 307, 308), so an address without its
#   final slash works behind a reverse proxy that redirects "/team" to "/team/".
# Seen, websockets 17.4: a redirect is followed only when its Location is relative or begins with ws:// or wss://. A
#   Location that begins with http:// or https:// raises InvalidURI ("scheme isn't ws or wss"), not InvalidStatus with the
#   301. Proxies answer an upgrade like any other request, so nginx (whose redirects are absolute unless it is told
#   "absolute_redirect off"), Apache and most frameworks send http://.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet websockets==17.4
"$place/venv/bin/python" - <<'PY'
import asyncio
import http.server
import threading

import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, InvalidURI


class Redirects(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        port = self.server.server_port
        if self.path.endswith("/"):
            self.send_error(418)  # the redirect was followed
            return
        self.send_response(301)
        where = {"/absolute": f"http://127.0.0.1:{port}/absolute/", "/relative": "/relative/"}
        self.send_header("Location", where[self.path])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


async def outcome(url):
    try:
        async with connect(url, proxy=None):
            return "connected"
    except (InvalidURI, InvalidStatus) as error:
        return type(error).__name__, str(error)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirects)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"ws://127.0.0.1:{server.server_port}"
relative = asyncio.run(outcome(f"{base}/relative"))
absolute = asyncio.run(outcome(f"{base}/absolute"))
server.shutdown()
print("websockets", websockets.__version__)
print("Location: /relative/                ->", *relative)
print("Location: http://127.0.0.1/absolute/ ->", *absolute)
assert relative[0] == "InvalidStatus" and "418" in relative[1], relative
assert absolute[0] == "InvalidURI" and "scheme isn't ws or wss" in absolute[1], absolute
PY
