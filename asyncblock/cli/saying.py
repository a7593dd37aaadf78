"""What long-running commands say about themselves: plain lines, or records of the log if that is for programs."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from ..telemetry import jsonlogs

__all__ = ["log_as", "say"]

logger = logging.getLogger("asyncblock.cli")


def say(words: str, stream: TextIO | None = None) -> None:
    """Say something on stderr, or where else it goes when it isn't logged."""
    if jsonlogs.configured():
        logger.info("%s", words)
    else:
        print(words, file=stream or sys.stderr, flush=True)


def log_as(log_format: str) -> None:
    """Log as a command was told to: ``text`` or ``json``."""
    if log_format == "json":
        jsonlogs.configure()
