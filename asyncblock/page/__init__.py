"""What a page shows of a session: its state, folded from its public events, and the views that are drawn from it. The
live page, reports, notebooks and the terminal's graph all show this.

Pure: no I/O, no clock. ``state`` is the fold; ``work``, ``jobviews`` and ``shown`` are its parts. ``views`` has what
follows from it (lanes of a timeline, the critical path), ``layers`` places the nodes of a flow.
"""

from __future__ import annotations

from .shown import StateLimits
from .state import State

__all__ = ["State", "StateLimits"]
