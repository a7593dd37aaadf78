"""Mainframes that live in the caller's process: ``embedded``, ``Flow.run``, and servers on the I/O thread for commands.

Users and the commands call it, at the top of the house: nothing below may import it.
"""
