"""Sessions that run: what comes from outside becomes rows, the flow decides, and what it decides takes effect.

The gateway and requests reach sessions through ``Sessions``. A session must never act on what isn't in its journal.
"""
