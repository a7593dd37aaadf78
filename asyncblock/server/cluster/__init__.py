"""A set of mainframes that share a journal in a NATS JetStream cluster: one owns it, the others stand by.

``clusterset`` is what a set is, ``ownership`` who owns it (pure), ``members`` one mainframe of it.
"""
