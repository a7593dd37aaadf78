"""The test kit: what asyncblock is tested with, for whoever writes blocks, transports or journals.

``run_block`` (and the pytest fixture ``block_run``) gives a block a real Context and an in-memory mainframe;
``run_virtual`` runs tests in virtual time; ``MemoryNetwork`` and ``FaultProxy`` do to connections what networks do, in
memory and to real websockets; ``check_transport`` and ``check_journal`` say whether another implementation keeps the
contract; ``crash_at`` kills a child process at a named point. ``python -m asyncblock.testing.chaos`` runs a whole
system under kills and cuts, and compares what blocks were told with what the journal holds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blockruns import BlockResult, run_block
    from .clock import Stuck, VirtualLoop, run_virtual
    from .conformance import check_journal, check_transport
    from .crash import crash_at
    from .harmfulnetwork import Faults, MemoryNetwork
    from .memorymainframe import MemoryMainframe, OneLoop
    from .proxy import FaultProxy

__all__ = [
    "BlockResult",
    "FaultProxy",
    "Faults",
    "MemoryMainframe",
    "MemoryNetwork",
    "OneLoop",
    "Stuck",
    "VirtualLoop",
    "check_journal",
    "check_transport",
    "crash_at",
    "run_block",
    "run_virtual",
]

_HOMES = {
    "BlockResult": "blockruns",
    "FaultProxy": "proxy",
    "Faults": "harmfulnetwork",
    "MemoryMainframe": "memorymainframe",
    "MemoryNetwork": "harmfulnetwork",
    "OneLoop": "memorymainframe",
    "Stuck": "clock",
    "VirtualLoop": "clock",
    "check_journal": "conformance",
    "check_transport": "conformance",
    "crash_at": "crash",
    "run_block": "blockruns",
    "run_virtual": "clock",
}


def __getattr__(name: str) -> object:
    # Nothing is loaded before it is asked for: the pytest plugin is imported by everybody's pytest.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
