"""Where the modules of block packages live, under names that every process of this environment can import.

``blocks_of._srv_flows_stocks.blocks.load.main`` is ``blocks/load/main.py`` of the package in ``/srv/flows/stocks``: the
name says where the file is. So what pickles name is found by the workers of a process pool, however they were started,
and by the next run. Nothing but modules of packages is in here; ``asyncblock.executor.code.imports`` finds them.
"""

from asyncblock.executor.code.imports import install

install()
