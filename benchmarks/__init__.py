"""Benchmarks: every figure beside its rivals, measured in one run. ``python -m benchmarks`` lists them.

Each subject (ours or a rival's) is measured in a process of its own, in rounds that take turns, so that a noisy moment
hits all of them; the median of the rounds counts. A rival that isn't installed is *not shown*, and the result says so.
"""
