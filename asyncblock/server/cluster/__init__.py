"""A set of mainframes that share a journal in a NATS JetStream cluster: one owns it, the others stand by.

``clusterset`` is what a set is, ``ownership`` who owns it (pure), ``members`` one process of it, and
``partitionmember`` its part in one of the set's partitions, as owner (``partitionserver``) or not (``standby``).
"""
