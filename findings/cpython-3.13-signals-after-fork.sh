#!/usr/bin/env bash
# Guess: a process that a thread has forked is an ordinary process with one thread: os.fork makes that thread its main
#   thread, which may set signal handlers, and they are called between two instructions of it.
# Seen, CPython 3.13.0: it may set them (threading.main_thread() is the current thread), and none is called while Python
#   code runs. They are called when a signal interrupts a system call (time.sleep), or not at all: a SIGINT that comes
#   just before the sleep doesn't end it. 3.11.7 and 3.12.1 call them at once.
# Exits with 0 while that is so. PYTHON is the interpreter: it has to be 3.13.0.
set -euo pipefail
python=${PYTHON:-python3.13}
"$python" -c 'import sys; sys.exit(sys.version_info[:3] != (3, 13, 0))' || { echo "PYTHON has to be 3.13.0"; exit 2; }
"$python" -W ignore::DeprecationWarning - <<'PY'
import os
import signal
import sys
import threading
import time


def child(to_parent):
    assert threading.current_thread() is threading.main_thread()
    called = []
    signal.signal(signal.SIGUSR1, lambda *_: called.append(time.monotonic()))
    os.write(to_parent, b"x")
    began = time.monotonic()
    while time.monotonic() - began < 2:
        pass  # thousands of instructions, between which a handler is called elsewhere
    os._exit(0 if not called else 1)


def fork():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(writing)
    os.read(reading, 1)
    os.kill(pid, signal.SIGUSR1)
    found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


found = []
thread = threading.Thread(target=fork)
thread.start()
thread.join()
fork()
print("forked by a thread: handler", "called" if found[0] else "not called", "within 2 s;", end=" ")
print("by the main thread:", "called" if found[1] else "not called")
sys.exit(found != [0, 1])
PY
