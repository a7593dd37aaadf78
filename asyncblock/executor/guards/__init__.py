"""What blocks find in place of Python's own loop, signals, clocks and waits, in a process that belongs to the executor.

``__main__`` puts them in place, before a block runs; an executor inside a service never does. A guard keeps what one
block does to its process from ending more than that block's job. It must change nothing for code that isn't a block's.
"""
