"""What went wrong, or holds things up, in the author's terms: tracebacks, the watchdog, signs of life, leftovers.

Jobs, services and the process's start ask it. It reads frames and tasks, and must never change or end what it looks at.
"""
