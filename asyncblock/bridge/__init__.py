"""The bridge: blocks of this package under the ``oocana`` engine, as its executor.

The engine starts ``python-executor`` and speaks MQTT with it. ``enginewords`` is what the two say, as data; ``bridge``
and ``enginejobs`` know the engine's jobs; ``executorlink`` is the mainframe that our executor processes see, and
``enginequestions`` what their jobs ask. There is no journal: a record is acknowledged to its block when the *broker*
has taken it (QoS 1). So ``await ctx.output(...)`` means here that it is on its way to the broker, in its order, and
``await ctx.flush()`` that the broker has it; neither survives the broker.
"""
