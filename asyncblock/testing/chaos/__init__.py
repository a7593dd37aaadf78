"""Chaos: a whole system under faults of many kinds, and the comparison of what was promised with what is there.

``python -m asyncblock.testing.chaos --seconds S --seed N --faults KINDS``: a mainframe and executors in processes of
their own, linked through a ``FaultProxy``. Blocks of every kind send numbered values, some of them large, write down
outside what ``flush`` and ``done`` told them was stored, and have effects outside for each value that they take; others
put out numbered frames by a var handle, whose consumers, on either executor, say which number theirs is. Meanwhile a
seeded ``storm`` brings ``faults``: kills, cuts, clocks that jump, certificates that are replaced. At the end the
``audit`` reads the journal and compares it with the notes, with the effects, and with what observers saw.

With ``--cluster M --nats K`` the system is a set (``setrun``): ``chaosset`` has its members and ``natsnodes`` the NATS
nodes, with fault proxies on all ways between them, and ``setfaults`` what is done to them. ``streamaudit`` looks in the
stream for what an owner has written that had lost the set.
"""

from __future__ import annotations
