"""The service developer's side: connect to a mainframe, start flows, follow their events.

``mainframes`` and ``sessionhandle`` are the handles, ``connecting`` the links that users share, ``resolving`` how a
plan is made of whatever names a flow. Nothing here runs a block.
"""

from __future__ import annotations

from .connecting import open_link, open_links
from .listed import Pruned, SessionInfo
from .mainframes import LocalHost, Mainframe, connect
from .resolving import flow_of, plan_of, plan_of_row, resolve_flow
from .sessionhandle import Session

__all__ = [
    "LocalHost",
    "Mainframe",
    "Pruned",
    "Session",
    "SessionInfo",
    "connect",
    "flow_of",
    "open_link",
    "open_links",
    "plan_of",
    "plan_of_row",
    "resolve_flow",
]
