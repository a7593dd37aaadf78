"""Which executor gets which job, with what: queues, needs, places of values, leases, and how the dispatch gets there.

Sessions hand jobs to ``Dispatcher``, and hear of it what became of them. It decides where a job runs, and must never
decide whether.
"""
