"""In a process that jobs share: whose code runs, and whose is what it prints, logs, plots, forks or changes for others.

``blockcall`` and the process's start (``__main__``) put these in place. They find out whose something is and tell that
job, and must never decide what becomes of it: that is ``attempts``' business.
"""
