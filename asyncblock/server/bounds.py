"""What the mainframe takes in at most. Senders know these bounds, and refuse more at the call."""

from __future__ import annotations

import orjson

__all__ = ["MAX_BODY", "MAX_CHANNELS", "MAX_DEPTH", "MAX_LINE", "MAX_LINES", "MAX_RECORDS", "MAX_WORDS", "is_deep"]

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


def is_deep(value: object) -> bool:
    """Tell whether something is nested so deep that, with what is put around it, it couldn't be encoded again."""
    for _ in range(254 - MAX_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
