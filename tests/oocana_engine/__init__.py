"""Flows on the real ``oocana`` engine, beside ours: a command for people, since CI has no such engine.

``python -m tests.oocana_engine --help`` says how. ``seen`` is what a run has shown, as data; ``sides`` runs a flow;
``table`` has the flows of ``tests/oocana_flows``; ``hops`` measures chained jobs.
"""
