"""``python -m tests.release``: take today's public names as those of a release."""

from __future__ import annotations

from .names import KEPT, names

KEPT.write_text("\n".join(names()) + "\n", "utf-8")
print(KEPT)
