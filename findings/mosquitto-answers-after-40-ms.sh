#!/usr/bin/env bash
# Guess: two clients of a broker on the same machine, both with TCP_NODELAY, exchange a question and its answer with
#   QoS 1 in a millisecond or two, as with QoS 0: no client keeps anything back, and nobody is busy.
# Seen, mosquitto 2.0.11 (Debian 12) with paho-mqtt 2.1.0 on Linux: with QoS 1 each takes a bit more than 40 ms. The
#   broker's acknowledgement of the question is a small segment that the asker's kernel acknowledges late, for the asker
#   has nothing to say; until then Nagle's algorithm, which mosquitto leaves on, keeps the answer in the broker's socket.
#   It is gone when the asker sets TCP_QUICKACK (each time: the kernel takes it back), or with the broker's
#   "set_tcp_nodelay true". QoS 0 has no acknowledgement, and never waits.
# Exits with 0 while that is so. Needs apt (its packages are unpacked, not installed) and Python.
set -euo pipefail
place=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker"; rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet paho-mqtt==2.1.0
(cd "$place" && apt-get -qq download mosquitto=2.0.11-1.2+deb12u2 libmosquitto1=2.0.11-1.2+deb12u2 \
    libwebsockets17 libcjson1 libdlt2 libev4 libuv1 2> "$place/log" && for each in *.deb; do dpkg -x "$each" tree; done)
export LD_LIBRARY_PATH=$(find "$place/tree" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)

median() {  # of 30 answers, in ms: QoS, what the asker sets, a line of the broker's configuration
    printf 'listener 47688 127.0.0.1\nallow_anonymous true\n%s\n' "$3" > "$place/conf"
    "$place/tree/usr/sbin/mosquitto" -c "$place/conf" 2> "$place/log" &
    broker=$!
    "$place/venv/bin/python" - "$1" "$2" <<'PY'
import socket
import statistics
import sys
import threading
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

qos, acknowledges = int(sys.argv[1]), sys.argv[2] == "quickack"


def connected(name, topic, heard):
    client, ready = Client(CallbackAPIVersion.VERSION2, name), threading.Event()
    client.on_socket_open = lambda c, u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda c, u, message: heard(message.payload)
    for _ in range(100):
        try:
            client.connect("127.0.0.1", 47688)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    client.loop_start()
    client.subscribe(topic, qos)
    assert ready.wait(5)
    return client


answered = threading.Event()
asker = connected("asker", "answer", lambda payload: answered.set())
other = connected("other", "question", lambda payload: other.publish("answer", payload, qos))
if acknowledges:
    asker.on_publish = lambda *_: asker.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
took = []
for number in range(30):
    # Not one right after the other: the first segments of a connection are acknowledged at once.
    time.sleep(0.1)
    answered.clear()
    began = time.perf_counter()
    asker.publish("question", b"%d" % number, qos)
    assert answered.wait(5)
    took.append((time.perf_counter() - began) * 1000)
print(round(statistics.median(took), 1))
for client in (asker, other):
    client.disconnect()
    client.loop_stop()
PY
    kill "$broker"
    wait "$broker" || true
    broker=
}

plain=$(median 0 - "")
acknowledged=$(median 1 - "")
quick=$(median 1 quickack "")
told=$(median 1 - "set_tcp_nodelay true")
echo "ms from a question to its answer, medians of 30: QoS 0 $plain, QoS 1 $acknowledged," \
    "with TCP_QUICKACK $quick, with set_tcp_nodelay $told"
awk -v a="$plain" -v b="$acknowledged" -v c="$quick" -v d="$told" 'BEGIN { exit !(b > 38 && a < 15 && c < 15 && d < 15) }'
