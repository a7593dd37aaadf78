"""Links and their connections, from Hello to the last answer: batches, bodies, requests, pages of journals, plain HTTP.

``mainframe`` puts it on top of sessions and dispatch. It must never acknowledge what isn't committed, nor let one slow
peer hold up another.
"""
