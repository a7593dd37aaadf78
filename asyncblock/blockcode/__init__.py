"""The author's code on disk: packages, which files a block can come to run, and the digests that say which code it is.

Flows, executors and commands ask it. It only reads, and must never import or run what it looks at.
"""
