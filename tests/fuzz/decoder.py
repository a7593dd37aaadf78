"""The atheris target: ``python -m tests.fuzz.decoder --seconds N [--gateway]``. Exit code 0 when nothing was found."""

from __future__ import annotations

import argparse
import logging
import sys


def main() -> None:
    """Fuzz for a number of seconds; a crash prints its input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.decoder")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--gateway", action="store_true", help="feed the gateway's reader instead of the decoder")
    options = parser.parse_args()
    try:
        import atheris
    except ImportError:
        sys.exit("atheris isn't installed here: pip install atheris (CPython on Linux)")
    with atheris.instrument_imports(include=["asyncblock"]):
        from asyncblock.testing import run_virtual

        from .feeding import decode_one, feed_gateway

    logging.disable(logging.CRITICAL)

    def one(data: bytes) -> None:
        decode_one(data)

    def whole(data: bytes) -> None:
        run_virtual(feed_gateway(data.split(b"\xff"), greeted=len(data) % 2 == 0))

    target = whole if options.gateway else one
    atheris.Setup([sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=4096"], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
