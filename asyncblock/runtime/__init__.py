"""Threads, the I/O loop, forks, garbage, scratch files and the end of a process: what every process of ours is made of.

Everybody may use it. It knows nothing of blocks, flows or the wire.
"""
