"""Secrets and credentials: where an executor finds them, and the references in inputs that stand for them.

Jobs resolve their inputs by it, at the last moment. What is found must never reach a log, a record or the journal.
"""
