#!/usr/bin/env bash
# Guess: uvicorn-worker 0.3.0 says that it goes with uvicorn 0.15.0 and later, pip installs both, so gunicorn starts with it;
#   and where it doesn't, pip or the import of the worker's module says so.
# Seen, gunicorn 23.0.0 and uvicorn 0.47.0: pip has no objection, the module can be imported, gunicorn listens, and then no
#   worker boots: it calls Config.setup_event_loop, which uvicorn 0.36.0 replaced by a method that only raises
#   AttributeError. gunicorn ends with exit code 3. With uvicorn-worker 0.4.0 the same command serves.
# Exits with 0 while that is so.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
cat > "$place/served.py" <<'PY'
import os
import signal


async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    # It serves: that is all there is to see.
    os.kill(os.getppid(), signal.SIGTERM)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
PY
serve() { # version of the worker
    "$place/venv/bin/pip" install --quiet gunicorn==23.0.0 uvicorn==0.47.0 "uvicorn-worker==$1"
    "$place/venv/bin/pip" check > /dev/null
    "$place/venv/bin/python" -c "import uvicorn_worker"
    code=0
    timeout 60 "$place/venv/bin/python" -m gunicorn --chdir "$place" --bind "unix:$place/socket" --workers 1 \
        --worker-class uvicorn_worker.UvicornWorker served:app > "$place/said" 2>&1 || code=$?
    echo "uvicorn-worker $1: exit code $code; $(grep -c 'Application startup complete' "$place/said" || true) started"
}
serve 0.3.0 | tee "$place/seen"
grep -o 'AttributeError: The `setup_event_loop` method was replaced.*' "$place/said" | head -1
serve 0.4.0 | tee -a "$place/seen"
diff "$place/seen" - <<'SEEN'
uvicorn-worker 0.3.0: exit code 3; 0 started
uvicorn-worker 0.4.0: exit code 0; 1 started
SEEN
