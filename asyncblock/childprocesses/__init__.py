"""Child processes: started, watched, spoken to over a private socket, spoken for while they can't, and ended.

Mainframes, executors and commands start theirs here. A child must never outlive its parent, and nothing polls for it.
"""
