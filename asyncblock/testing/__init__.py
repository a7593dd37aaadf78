"""The test kit: what asyncblock is tested with, for whoever writes blocks, transports or journals.

``FaultProxy`` stands between real websockets and does to them what networks do. ``python -m asyncblock.testing.chaos``
runs a whole system under kills and cuts, and compares what blocks were told with what the journal holds.
"""

from __future__ import annotations

from .proxy import FaultProxy

__all__ = ["FaultProxy"]
