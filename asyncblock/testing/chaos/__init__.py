"""Chaos: a whole system under kills and cuts, and the comparison of what was promised with what is there.

``python -m asyncblock.testing.chaos --seconds S --seed N``: a mainframe and executors in processes of their own, linked
through a ``FaultProxy``. Blocks send numbered outputs, some of them large, and write down outside what ``flush`` and
``done`` told them was stored; others put out numbered frames by a var handle, whose consumers, on either executor, say
which number theirs is. Meanwhile a seeded ``storm`` kills either side with SIGKILL and harms connections. At the
end the ``audit`` reads the journal and compares it with the blocks' notes and with what observers saw.
"""

from __future__ import annotations
