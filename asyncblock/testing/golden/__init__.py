"""Golden sessions: whole exchanges of the wire, recorded from the real thing, to replay against either end.

``asyncblock/wire/sessions`` has one file for each story: a JSON object a line. The first says what it is about. Each
of the others is something that happened on a connection, in order: ``way`` is ``open``, ``up`` or ``down`` (a message:
``lines`` of text, or a ``chunk`` in base64), ``cut`` (the connection was lost) or ``end``; ``link`` names the link and
``connection`` counts its connections.

To replay one against an executor or a client, play the mainframe: wait for what came up, say what went down. Ids,
secrets, hashes and times are others then, and so are the places where a batch ends and the next begins. Pings may come
between.

``python -m asyncblock.testing.golden`` replays them against both ends that are installed; ``--write`` records them.
"""

from __future__ import annotations

from .replaying import against_lower_end, against_mainframe
from .scene import SceneEntry, record, stored_sessions
from .stories import STORIES

__all__ = ["STORIES", "SceneEntry", "against_lower_end", "against_mainframe", "record", "stored_sessions"]
