"""``python -m tests.release 0.2.0``: make the working tree that of a release, to be looked at and committed.

The changelog's fragments become its section, and today's public names are noted as those that it has.
"""

from __future__ import annotations

import sys

from .changelog import collect
from .names import KEPT, names

if len(sys.argv) != 2 or not sys.argv[1][:1].isdigit():
    sys.exit("say which release: python -m tests.release 0.2.0")
collect(sys.argv[1])
KEPT.write_text("\n".join(names()) + "\n", "utf-8")
print(f"look at CHANGELOG.md and {KEPT.name}, commit, and tag the commit v{sys.argv[1]}")
