"""Transactions: everything that one event changes, and what is said to others once it has been committed.

All that changes the mainframe's state goes through here. But for cancels, nothing may be acknowledged, sent
or shown before its commit.
"""
