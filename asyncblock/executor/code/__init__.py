"""From a block's name to the function that is called: packages and their hashes, imports by edition, templates of jobs.

The attachment and jobs ask it. It knows no link and no job that runs, and it never runs on the blocks' loop what takes
long: code of authors is imported on worker threads.
"""
