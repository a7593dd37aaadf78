"""The link of this process to one mainframe: one outbox, one transport at a time, and the tasks that drive them.

``link`` is what others have of it, ``connections`` makes one connection after the other, ``sender`` is where jobs'
records wait, ``streamedbody`` and ``bodybuffer`` make and keep large values, ``fileuploads`` sends files, ``questions``
and ``downloads`` are what this side asks, ``hosted`` is what an executor is told. All of it lives on the I/O thread;
what other threads may touch is ``JobSender`` and ``StreamedBody`` (one for each job, one for each large value) and the
coroutines of ``Link``.
"""

from __future__ import annotations

from .link import FIRST_TIMEOUT, Host, Link
from .placedlinks import PlacedLinks
from .questions import Rows
from .sender import JobSender, divert_records
from .streamedbody import BodyAbandoned, StreamedBody

__all__ = [
    "FIRST_TIMEOUT",
    "StreamedBody",
    "BodyAbandoned",
    "Host",
    "Link",
    "JobSender",
    "PlacedLinks",
    "Rows",
    "divert_records",
]
