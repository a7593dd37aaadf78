"""Jobs, their attempts and links, the blocks that they are of, and the var values that they have made.

Sessions and dispatch change it, each its own part. Nothing in here decides what runs, or where.
"""
