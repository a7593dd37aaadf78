"""What the engine says to an executor that it starts, on the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EngineOrders"]

_ADDRESS = "127.0.0.1:47688"


@dataclass(frozen=True, slots=True)
class EngineOrders:
    """Which session this executor is for, and where things are."""

    session_id: str
    address: str
    session_dir: Path
    tmp_dir: Path
    package: Path | None
    identifier: str | None
    debug_port: int | None = None
    """Where an editor's debugger is to reach the blocks."""
    wait_for_client: bool = False
    """No block may begin before one has come."""

    @classmethod
    def read(cls, arguments: Sequence[str], program: str) -> EngineOrders:
        """Read a command line; says what is wrong with it, and leaves with code 2."""
        parser = argparse.ArgumentParser(
            prog=program,
            description="Run Python blocks for the oocana engine: it starts this program, and speaks MQTT with it. "
            "Install asyncblock[oocana] where the engine finds its python-executor, and nothing else changes.",
            epilog="Exit codes: 0 the session is over, 1 no broker, or the engine is gone, 2 bad usage. Environment: "
            "OOCANA_PKG_DIR is the package's data directory. The session's end (SessionFinished), SIGTERM, and the "
            "end of the engine that has started it make it leave.",
        )
        add = parser.add_argument
        add("--session-id", required=True, metavar="ID", help="the engine's session")
        add(
            "--address",
            default=_ADDRESS,
            metavar="ADDRESS",
            help="the MQTT broker: [mqtt://][USER:PASSWORD@]HOST:PORT (default: %(default)s)",
        )
        add("--session-dir", required=True, metavar="DIR", help="what the session's jobs share; bytes pass through it")
        add("--tmp-dir", required=True, metavar="DIR", help="for what the flow makes on the way")
        add("--package", metavar="DIR", help="the package whose blocks run here")
        add("--identifier", metavar="ID", help="which of the session's executors this is; jobs name it")
        add(
            "--debug-port", type=_port, metavar="PORT", help="let an editor's debugger reach the blocks (needs debugpy)"
        )
        add("--wait-for-client", action="store_true", help="let no block begin before a debugger has come")
        _, unknown = found = parser.parse_known_args(arguments)
        if unknown:
            sys.stderr.write(f"{program}: these options mean nothing here: {' '.join(unknown)}\n")
        given = found[0]
        if not given.session_id or set("+#\0") & set(given.session_id):
            parser.error(f"--session-id: {given.session_id!r} can't be in the name of an MQTT topic")
        return cls(
            session_id=given.session_id,
            address=given.address,
            session_dir=Path(os.path.abspath(given.session_dir)),
            tmp_dir=Path(os.path.abspath(given.tmp_dir)),
            package=None if given.package is None else Path(given.package).resolve(),
            identifier=given.identifier,
            debug_port=given.debug_port,
            wait_for_client=given.wait_for_client,
        )


def _port(word: str) -> int:
    if not word.isdecimal() or not 0 < int(word) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{word!r} is no port")
    return int(word)
