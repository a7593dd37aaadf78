"""Valid but odd messages, from the wire's own schema: ``python -m tests.fuzz.grammar --messages 1000000``.

A hostile peer says them to a real mainframe, beside a link whose job must not notice it; each connection must go on, or
end by a goodbye that the reference has.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from typing import Any

import orjson

from asyncblock.errors import AsyncBlockError
from asyncblock.server.settings import Settings
from asyncblock.testing import MemoryMainframe
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.describe import json_schema
from asyncblock.wire.describe.codes import GOODBYES
from asyncblock.wire.states import RECEIVE, ConnectionState, Role

from ..peers import node, plan
from .answers import CheckedPeer
from .memory import Memory

__all__ = ["Grammar", "fuzz"]

IDS = ["s", "innocent", "innocent.0", "hostile", "none", "x" * 300, "\x00", "é", ""]
NUMBERS = [0, 1, 2, 3, -1, 1 << 31, (1 << 53) - 1, (1 << 63) - 1, (1 << 64) - 1]
_DISK = 256
"""Bytes that a message takes on a disk at most, on average: few of them make a session or are a record."""

JSON: list[Any] = [None, True, 0, 1.5, -1e300, "", "\x00\ud7ff", [], {}, [[[]]], {"": {"a": [None]}}]


class Grammar:
    """Makes values of the schema."""

    def __init__(self, chance: random.Random, role: Role = Role.UPPER) -> None:
        self.chance = chance
        self.defs: dict[str, Any] = json_schema()["$defs"]
        self.ops = [op for op in RECEIVE[role][ConnectionState.OPEN] if op not in ("chunk", "bye")]
        self.ids = IDS

    def line(self) -> list[bytes]:
        """Return a control line that is valid upwards, with the lines that belong to it."""
        message = self.make(self.defs[f"message.{self.chance.choice(self.ops)}"], 0)
        message.pop("on", None)
        if message["op"] == "request":
            method = message["method"] = self.chance.choice(sorted(self._methods()))
            message["params"] = self.make(self.defs[f"params.{method}"], 0)
        if message["op"] != "batch":
            return [orjson.dumps(message)]
        message |= {"seq": self.chance.choice([1, 1, 2, 3]), "channels": [self.chance.randint(0, 3) for _ in range(2)]}
        return [orjson.dumps(message), *(orjson.dumps(self.make(self.defs["records"], 0)) for _ in range(2))]

    def _methods(self) -> list[str]:
        return [name.removeprefix("params.") for name in self.defs if name.startswith("params.")]

    def make(self, schema: dict[str, Any], depth: int) -> Any:
        """Return a value that a schema allows."""
        chance = self.chance
        if "$ref" in schema:
            return self.make(self.defs[schema["$ref"].rpartition("/")[2]], depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema and "properties" not in schema:
                return self.make(chance.choice(schema[key]), depth + 1)
        if "const" in schema or "enum" in schema:
            return schema.get("const", chance.choice(schema.get("enum", [None])))
        kind = schema.get("type")
        match chance.choice(kind) if isinstance(kind, list) else kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                if "prefixItems" in schema:
                    return [self.make(each, depth + 1) for each in schema["prefixItems"]]
                return [
                    self.make(schema.get("items", {}), depth + 1)
                    for _ in range(chance.randint(0, 2 if depth < 8 else 0))
                ]
            case "string":
                if "pattern" in schema:
                    return "0" * 64 if "0-9a-f]" in schema["pattern"] else chance.choice(["hostile", "a1"])
                least, most = schema.get("minLength", 0), schema.get("maxLength", 1 << 20)
                return (chance.choice(self.ids) + "k" * least)[:most]
            case "integer":
                low, high = schema.get("minimum", -(1 << 63)), schema.get("maximum", (1 << 64) - 1)
                return min(max(chance.choice(NUMBERS), low), high)
            case "number":
                return max(chance.choice([0, 0.5, 99, 1e300]), schema.get("minimum", -1e300)) % schema.get(
                    "maximum", 1e301
                )
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
        return chance.choice(JSON)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        chance, properties = self.chance, schema.get("properties", {})
        wanted = set(schema.get("required", ()))
        if "oneOf" in schema:
            wanted |= set(chance.choice(schema["oneOf"])["required"])
            excluded = {name for each in schema["oneOf"] for name in each["required"]} - wanted
        else:
            excluded = set()
        for name in properties:
            if depth < 8 and name not in excluded and chance.random() < 0.4:
                wanted.add(name)
        made = {name: self.make(properties[name], depth + 1) for name in wanted}
        if not properties and "additionalProperties" in schema and depth < 8:
            made |= {chance.choice(self.ids) or "k": self.make(schema["additionalProperties"], depth + 1)}
        return made


async def fuzz(seed: int, *, messages: int, seconds: float) -> dict[str, int]:
    """Say so many messages, for no longer than that; return how often connections ended by which code."""
    grammar = Grammar(random.Random(seed))
    ends: dict[str, int] = {"messages": 0}
    memory = Memory()
    until = time.monotonic() + seconds
    # The innocent has nothing to say meanwhile.
    async with MemoryMainframe(Settings(heartbeat=3600.0)) as mainframe:

        def connect() -> CheckedPeer:
            ours, theirs = memory_pair()
            mainframe.accept_soon(theirs)
            return CheckedPeer(ours)

        innocent = connect()
        assert (await innocent.hello("owner", slots=1, secret="s" * 32))["op"] == "welcome"
        assert (await innocent.ask("start", session_id="innocent", plan=plan(node("n"))))["error"] is None
        dispatch = await innocent.until("dispatch")
        await innocent.batch(1, dispatch["channel"], {"type": "JobStarted", "t": 1})
        await innocent.until("ack")
        link = mainframe.sessions.dispatch.links["owner"]
        number = 0
        while ends["messages"] < messages and time.monotonic() < until:
            number += 1
            peer = connect()
            code = await _one(peer, grammar, f"hostile{number}")
            ends["messages"] += 20
            ends[code] = ends.get(code, 0) + 1
            if number % 50 == 0:
                # What the journal has is on its disk, which is memory here.
                memory.check(_DISK * ends["messages"])
            assert code in GOODBYES or code == "open", code
            # Whoever may cancel sessions may cancel this one, and whoever is a client may end its job; nothing else.
            assert link.connection is not None and mainframe.gateway.trouble is None
            if "innocent" in mainframe.sessions.running:
                assert [attempt.number for attempt in link.attempts.values() if not attempt.fenced] == [1]
        memory.check(_DISK * ends["messages"])
        reply = await innocent.ask("info", id="last")
        assert reply["error"] is None
        innocent.transport.abort()
    return ends


async def _one(peer: CheckedPeer, grammar: Grammar, name: str) -> str:
    """Let a peer with all roles say twenty messages; return how its connection ended."""
    try:
        await peer.hello(name, slots=0)
        for _ in range(20):
            await peer.send(grammar.line())
            await asyncio.sleep(0)
        await peer.say("request", id="end", method="info", params={})
        while True:
            answer = await peer.until("reply", "bye")
            if answer["op"] == "bye":
                return str(answer["code"])
            if answer["id"] == "end":
                return "open"
    except AsyncBlockError:
        # What it was told before that still has to be read.
        await peer.ended()
        byes = [each["code"] for each in peer.came if each["op"] == "bye"]
        return str(byes[0]) if byes else "lost without a word"
    finally:
        peer.transport.abort()


def main() -> None:
    """Fuzz; the seed is printed first, so that what was found can be found again."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.grammar")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lower", action="store_true", help="say them to an executor and client, as a mainframe")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    if not options.lower:
        logging.disable(logging.CRITICAL)
    from .lower import fuzz_lower

    chosen = fuzz_lower if options.lower else fuzz
    print(asyncio.run(chosen(options.seed, messages=options.messages, seconds=float("inf"))))


if __name__ == "__main__":
    main()
