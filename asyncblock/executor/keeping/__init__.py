"""Var values that this process keeps: how much memory they take, files in its place, ways to other hosts.

The attachment owns all of it. It knows no block and no job, and a value must never go before the mainframe has said so.
"""
