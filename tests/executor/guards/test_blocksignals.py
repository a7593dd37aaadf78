"""What would end a process or its event loop ends the job that did it, and nobody else's."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

import asyncblock

from ...flows import one_block

PROTOCOL = """
class Talks(asyncio.Protocol):
    def {name}(self, *_): sys.exit("{name}")
a, b = socket.socketpair()
b.setblocking(False)
transport, _ = await loop.create_connection(Talks, sock=a)
b.send(b"x")
transport.write(bytes(10_000_000) if "{name}" == "pause_writing" else b"y")
await asyncio.sleep(0.05)
b.shutdown(socket.SHUT_WR)
await asyncio.sleep(0.05)
transport.abort()
await forever()
"""
DATAGRAM = """
class Talks(asyncio.DatagramProtocol):
    def datagram_received(self, *_): sys.exit(17)
transport, _ = await loop.create_datagram_endpoint(Talks, local_addr=("127.0.0.1", 0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", transport.get_extra_info("sockname"))
await forever()
"""
SERVER = """
class Talks(asyncio.Protocol):
    def connection_made(self, _): sys.exit(18)
server = await loop.create_server(Talks, "127.0.0.1", 0)
client = socket.create_connection(server.sockets[0].getsockname())
await forever()
"""
STREAMS = """
def talk(reader, writer): sys.exit(19)
server = await asyncio.start_server(talk, "127.0.0.1", 0)
client = socket.create_connection(server.sockets[0].getsockname())
await forever()
"""
PIPE = """
class Talks(asyncio.Protocol):
    def data_received(self, _): sys.exit(20)
r, w = os.pipe()
await loop.connect_read_pipe(Talks, os.fdopen(r, "rb"))
os.write(w, b"x")
await forever()
"""

ENDS = {
    "a task raises KeyboardInterrupt": ("await asyncio.create_task(interrupt())", "KeyboardInterrupt: mine"),
    "a task that nobody awaits": (
        "task = asyncio.create_task(interrupt()); await forever()",
        "KeyboardInterrupt: mine",
    ),
    "a task of a group": (
        "async with asyncio.TaskGroup() as group: group.create_task(interrupt()); group.create_task(forever())",
        "KeyboardInterrupt: mine",
    ),
    "a task of tasks": ("await asyncio.gather(asyncio.wait_for(interrupt(), 5), forever())", "KeyboardInterrupt: mine"),
    "an eager task": (
        "loop.set_task_factory(lambda loop, coro, **given: asyncio.Task(coro, loop=loop, **given))\n"
        "task = asyncio.create_task(interrupt()); await forever()",
        "KeyboardInterrupt: mine",
    ),
    "call_soon": ("loop.call_soon(sys.exit, 3); await forever()", "sys.exit(3)"),
    "call_soon, before a failure": ("loop.call_soon(sys.exit, 3); await asyncio.sleep(0.1); 1 / 0", "sys.exit(3)"),
    "call_later": ("loop.call_later(0.01, sys.exit, 4); await forever()", "sys.exit(4)"),
    "a done callback": (
        "task = asyncio.create_task(asyncio.sleep(0)); task.add_done_callback(lambda _: sys.exit('done')); await forever()",
        "sys.exit('done')",
    ),
    "a reader": (
        "r, w = os.pipe(); os.write(w, b'x'); loop.add_reader(r, sys.exit, 6); await forever()",
        "sys.exit(6)",
    ),
    "a writer": ("r, w = os.pipe(); loop.add_writer(w, sys.exit, 7); await forever()", "sys.exit(7)"),
    "a thread's callback": (
        "threading.Thread(target=loop.call_soon_threadsafe, args=(sys.exit, 8)).start(); await forever()",
        "sys.exit(8)",
    ),
    "a thread of the pool": ("await asyncio.to_thread(sys.exit, 9)", "sys.exit(9)"),
    "a signal handler of the loop": (
        "loop.add_signal_handler(signal.SIGUSR1, sys.exit, 10); os.kill(os.getpid(), signal.SIGUSR1); await forever()",
        "sys.exit(10)",
    ),
    "a signal handler": (
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(11))\n"
        "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start(); await forever()",
        "sys.exit(11)",
    ),
    "a signal handler that fails": (
        "signal.signal(signal.SIGALRM, lambda *_: 1 / 0); signal.setitimer(signal.ITIMER_REAL, 0.05); await forever()",
        "ZeroDivisionError",
    ),
    "a time limit for its own code": (
        "def late(*_): raise TimeoutError('late')\n"
        "signal.signal(signal.SIGALRM, late); signal.setitimer(signal.ITIMER_REAL, 0.05)\n"
        "while True: pass",
        "TimeoutError: late",
    ),
    "a generator's finaliser": (
        "async def numbers():\n    try:\n        yield 1\n    finally:\n        sys.exit(12)\n"
        "async for _ in numbers(): break\n"
        "await forever()",
        "sys.exit(12)",
    ),
    "a generator's finaliser, found by the collector": (
        "async def numbers(itself):\n    try:\n        yield 1\n    finally:\n        sys.exit(13)\n"
        "itself = []; itself.append(numbers(itself)); await anext(itself[0]); del itself\n"
        "await asyncio.sleep(0); threading.Timer(0.05, gc.collect).start(); await forever()",
        "sys.exit(13)",
    ),
    "a handler of exceptions": (
        "loop.set_exception_handler(lambda *_: sys.exit(14)); loop.call_soon(lambda: 1 / 0); await forever()",
        "sys.exit(14)",
    ),
    **{
        f"a protocol's {name}": (PROTOCOL.format(name=name), f"sys.exit({name!r})")
        for name in ("connection_made", "data_received", "eof_received", "connection_lost", "pause_writing")
    },
    "a datagram": (DATAGRAM, "sys.exit(17)"),
    "a server's connection": (SERVER, "sys.exit(18)"),
    "a callback of streams": (STREAMS, "sys.exit(19)"),
    "a pipe": (PIPE, "sys.exit(20)"),
    "loop.stop()": ("loop.stop(); await forever()", "can't stop the event loop"),
    "call_soon(loop.stop)": ("loop.call_soon(loop.stop); await forever()", "can't stop the event loop"),
    "loop.close()": ("loop.close()", "close a running event loop"),
    "loop.run_until_complete()": ("loop.run_until_complete(loop.create_future())", "already running"),
    "GeneratorExit": ("raise GeneratorExit('out')", "GeneratorExit: out"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt('out')", "KeyboardInterrupt: out"),
    "an exception of its own": ("class Mine(BaseException): pass\nraise Mine('out')", "Mine: out"),
    "interrupt_main": ("threading.Timer(0, _thread.interrupt_main).start(); await forever()", "SIGINT"),
    "raise_signal": ("signal.raise_signal(signal.SIGINT); await forever()", "SIGINT"),
    "a signal to itself": ("os.kill(os.getpid(), signal.SIGTERM); await forever()", "SIGTERM"),
    "a job left open": ("loop.call_later(0.05, sys.exit, 16); return ctx.keepAlive", "sys.exit(16)"),
    "a result that raises": (
        "class Odd(dict):\n    def items(self): raise KeyboardInterrupt('odd')\nreturn Odd(out=1)",
        "KeyboardInterrupt: odd",
    ),
    "a value that raises": (
        "class Odd(collections.UserDict):\n    def __iter__(self): raise RuntimeError('odd')\nreturn {'out': Odd(a=1)}",
        "odd",
    ),
}

SUCCEEDS = {
    "a forked process that ends itself": (
        "pid = os.fork()\n"
        "if pid == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGTERM); os._exit(1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM"
    ),
    "a thread that exits": "threading.Timer(0, sys.exit).start(); threading.Thread(target=sys.exit, args=(1,)).start()",
    "exit with 0 in a callback": "loop.call_soon(sys.exit); await forever()",
    "GeneratorExit in a callback": "def out(): raise GeneratorExit\nloop.call_soon(out); await asyncio.sleep(0.05)",
    "closing the loop's generators": "await loop.shutdown_asyncgens()",
    "swallowing an exit": "try:\n    sys.exit(1)\nexcept SystemExit: pass",
}

HEAD = """
import _thread, asyncio, collections, gc, os, signal, socket, sys, threading

async def interrupt():
    raise KeyboardInterrupt("mine")

async def forever():
    await asyncio.Event().wait()

async def main(inputs, ctx):
    loop = asyncio.get_running_loop()
"""

INNOCENT = """
import asyncio, os

async def numbers():
    while True:
        yield 1

async def main(inputs, ctx):
    generator = numbers()
    await anext(generator)
    fifo = os.open({fifo!r}, os.O_RDONLY | os.O_NONBLOCK)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(fifo, told.set)
    await told.wait()
    asyncio.get_running_loop().remove_reader(fifo)
    return {{"out": [os.getpid(), await anext(generator), await asyncio.to_thread(int, 7)]}}
"""


@pytest.mark.timeout(150)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_what_would_end_the_process_ends_only_the_job_that_did_it(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", loop)
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    innocent = one_block(tmp_path / "innocent", INNOCENT.format(fifo=fifo))
    pid = one_block(tmp_path / "pid", "import os\nasync def main(inputs, ctx):\n    return {'out': os.getpid()}\n")
    async with asyncblock.embedded(workers=1) as mainframe:
        beside = await mainframe.start(innocent)
        process = (await (await mainframe.start(pid)).outputs())["out"]
        found = {}
        for number, (name, body) in enumerate({**{k: v[0] for k, v in ENDS.items()}, **SUCCEEDS}.items()):
            path = one_block(tmp_path / str(number), HEAD + textwrap.indent(body, "    ") + "\n")
            end = await (await mainframe.start(path)).wait()
            found[name] = "succeeded" if end.state == "succeeded" else f"{end.state}: {end.error}"
            assert await (await mainframe.start(pid)).outputs() == {"out": process}, name
        wrong = {name: found[name] for name, (_, words) in ENDS.items() if words not in found[name]}
        wrong |= {name: found[name] for name in SUCCEEDS if found[name] != "succeeded"}
        assert not wrong
        # To read and write, for this waits for no reader where there is none any more.
        told = os.open(fifo, os.O_RDWR)
        os.write(told, b"x")
        assert await beside.outputs() == {"out": [process, 1, 7]}
        os.close(told)
