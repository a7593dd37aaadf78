"""A child process: its orders, its words, and its end."""

from __future__ import annotations

import os
import sys

import pytest

from asyncblock.childprocesses.children import Child, describe_exit

ECHO = """
import socket, sys
orders = socket.socket(fileno=int(sys.argv[-1]))
heard = b""
while data := orders.recv(100):
    heard += data
orders.sendall(b"heard " + heard + b"and no line break")
sys.exit(3)
"""


async def test_a_child_hears_its_orders_and_is_heard_to_its_last_word() -> None:
    words: list[str] = []
    child = Child([sys.executable, "-c", ECHO], words.append, env=os.environ)
    await child.tell(b"one\n")
    child.hang_up()
    assert await child.wait() == 3
    assert child.ended and words == ["heard one", "and no line break"]
    # Nobody hears it, and that is all.
    await child.tell(b"two\n")


async def test_a_child_that_is_killed_has_ended_by_a_signal() -> None:
    child = Child([sys.executable, "-c", ECHO], lambda line: None, env=os.environ)
    child.kill()
    assert describe_exit(await child.wait()) == "the executor process was killed by SIGKILL"


@pytest.mark.parametrize(
    ("code", "words"),
    [(3, "exited with code 3"), (-15, "was killed by SIGTERM"), (-99, "was killed by signal 99")],
)
def test_how_a_process_ended_is_told(code: int, words: str) -> None:
    assert describe_exit(code) == f"the executor process {words}"
