"""What the mainframe takes in at most. Senders know these bounds, and refuse more at the call."""

from __future__ import annotations

import re
from typing import Final

import orjson

from ..flow.plan import MAX_NODES
from ..metadata import MAX_METADATA
from ..wire.bodies import CHUNK_SIZE
from ..wire.frames import MAX_MESSAGE
from .settings import Settings

__all__ = [
    "FILE_NAME",
    "INLINE_BYTES",
    "MAX_ACCEPTED",
    "MAX_ARGUMENTS",
    "MAX_BLOCK",
    "MAX_BLOCKS",
    "MAX_BODIES",
    "MAX_BODY",
    "MAX_CHANNELS",
    "MAX_DEAD",
    "MAX_DEPTH",
    "MAX_HELD",
    "MAX_HTTP_BODY",
    "MAX_LANGUAGES",
    "MAX_LINE",
    "MAX_LINES",
    "MAX_LISTED",
    "MAX_NAME",
    "MAX_NUMBER",
    "MAX_PACKAGES",
    "MAX_PAGE",
    "MAX_RECORDS",
    "MAX_SLOTS",
    "MAX_START",
    "MAX_WORDS",
    "UNREAD_BYTES",
    "is_deep",
    "limits",
]

FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What the file of a var value may be called."""

MAX_LINE = 2 << 20
"""Bytes of a line of records: with what the journal puts around it, it has to fit into a message of a reader."""

MAX_RECORDS = 10_000
"""Records in a batch; senders stop at 512. This and the next one are the protocol's: every sender knows them."""

MAX_LINES = 20_000
"""Lines of a text message that comes in: a batch of records one by one, and as many control lines."""

MAX_CHANNELS = 50_000
"""Open jobs that a Hello may name."""

MAX_BODY = 256 << 20
"""Bytes of a body. Senders refuse larger values at the call."""

MAX_DEPTH = 200
"""Levels of nesting in what comes in; senders refuse more at the call. The encoder takes 254."""

MAX_WORDS = 1000
"""Characters of texts that come from outside and are said again: reasons, ids, names."""


INLINE_BYTES = 1 << 20
"""Bytes of values that a dispatch or the end of a session carries itself; the rest of the message has room beside."""

MAX_DEAD = 1000
"""Links that a Hello may tell the end of."""

MAX_NAME = 200
"""Characters of what names a session or a link in a question: longer ones name nothing, and aren't kept while it
waits."""

MAX_HELD = 1 << 49
"""Bytes of var values of a process: the sum over all links is a number of 64 bits."""

MAX_NUMBER = 1 << 62
"""What a larger time or count of a question is taken for: the journal's numbers have 64 bits and a sign."""

MAX_LANGUAGES = 100

MAX_PACKAGES = 10_000
"""Packages of an executor; each costs about 300 bytes for as long as its link is known."""

MAX_ACCEPTED = 100

MAX_SLOTS = 1_000_000

MAX_BODIES = 10_000
"""Bodies of a link that no record has named yet: each costs about 500 bytes, and a Welcome tells of it."""

MAX_START = 3 << 20
"""Bytes of plan and inputs, which are a row of the journal, which has to fit into a message."""

MAX_BLOCK = 1 << 20
"""Bytes of a node's block: it travels with each dispatch, beside the inputs."""

MAX_BLOCKS = 1000
"""Blocks that a job may have running at once: as many as an executor runs async jobs."""

MAX_ARGUMENTS = 10_000
"""BlockArguments of a job before their order has come: each costs about 500 bytes, and its handles."""

MAX_LISTED = 1000
"""Sessions in an answer."""

MAX_PAGE = 1 << 20
"""Bytes of a page at most, whatever was asked for; a single row may be larger."""

MAX_HTTP_BODY = 16 << 20
"""Bytes of a body in one HTTP answer."""

UNREAD_BYTES = 8 << 20
"""Answers that wait for a connection's socket or the journal before more is read from it."""


def limits(settings: Settings) -> dict[str, int]:
    """Return everything that a mainframe bounds, by the names of a Welcome."""
    return {
        "message": MAX_MESSAGE,
        "line": MAX_LINE,
        "records": MAX_RECORDS,
        "value": MAX_BODY,
        "chunk": CHUNK_SIZE,
        "lines": MAX_LINES,
        "depth": MAX_DEPTH,
        "words": MAX_WORDS,
        "channels": MAX_CHANNELS,
        "dead": MAX_DEAD,
        "links": 1,
        "languages": MAX_LANGUAGES,
        "packages": MAX_PACKAGES,
        "accepts": MAX_ACCEPTED,
        "slots": MAX_SLOTS,
        "bodies": MAX_BODIES,
        "unnamed_bytes": settings.unnamed_bytes,
        "plan": MAX_START,
        "metadata": MAX_METADATA,
        "block": MAX_BLOCK,
        "nodes": MAX_NODES,
        "inline": INLINE_BYTES,
        "sessions": settings.max_sessions,
        "session_bytes": settings.session_bytes,
        "carried_bytes": settings.carried_bytes,
        "blocks": MAX_BLOCKS,
        "arguments": MAX_ARGUMENTS,
        "listed": MAX_LISTED,
        "reads": settings.max_reads,
        "questions": settings.max_questions,
        "unread_bytes": UNREAD_BYTES,
        "page": MAX_PAGE,
        "http_body": MAX_HTTP_BODY,
        "connections": settings.max_links,
    }


def is_deep(value: object) -> bool:
    """Tell whether something is nested so deep that, with what is put around it, it couldn't be encoded again."""
    for _ in range(254 - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
