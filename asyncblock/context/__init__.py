"""Context: what a block sees of its job. Every send is one ``await``; ``SyncContext`` is the same for ``def`` blocks.

The logic stands once: ``base`` makes records and keeps the rules, ``sending`` has the calls that both contexts have in
common, ``enginecalls`` what they ask the mainframe. The two only differ in how they wait: ``Context`` (in ``context``)
on its event loop, ``SyncContext`` (in ``blocking``) on its worker thread.
"""

from __future__ import annotations

from . import dataframes
from .blocking import SyncContext
from .blockjob import BlockJob, SyncBlockJob
from .context import Context, preview_again
from .counted import given_up
from .directed import ToFlow, ToNode
from .engine import Engine
from .jobdirectories import EndedDirectories, JobDirectories
from .jobinfo import JobInfo
from .payloads import MAX_VALUE, now_ms
from .printed import divert_rings
from .secrecy import CredentialInput, Secrecy

__all__ = [
    "MAX_VALUE",
    "BlockJob",
    "Context",
    "CredentialInput",
    "Engine",
    "JobInfo",
    "JobDirectories",
    "Secrecy",
    "SyncBlockJob",
    "SyncContext",
    "ToFlow",
    "ToNode",
    "dataframes",
    "divert_rings",
    "given_up",
    "now_ms",
    "preview_again",
    "EndedDirectories",
]
