"""What a session looks like: its state, folded from its public events, and the views that are drawn of it.

Pure: no I/O, no clock. ``state`` is the fold, ``work``, ``jobviews`` and ``shown`` are what it is made of, ``views``
what follows from it (lanes of a timeline, the critical path), ``layers`` places the nodes of a flow.
"""

from __future__ import annotations

from .shown import StateLimits
from .state import State

__all__ = ["State", "StateLimits"]
