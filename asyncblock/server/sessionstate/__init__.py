"""The state of one session: what each line of its journal makes of it, live and in a recovery, and snapshots of it.

``livesessions`` feeds it. A line must make the same state whenever it is read, and no decision of a flow is made here.
"""
