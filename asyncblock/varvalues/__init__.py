"""Var values beyond the process that made them: detached from what their author changes later, handed over in files.

``store`` and ``shared`` are above it, contexts and executors use it. It decides nothing about how long a value lives.
"""
