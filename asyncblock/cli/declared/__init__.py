"""What can be typed: the commands with their options and help, a file for each subject.

They only read what was typed. What a command does stands in a module beside this package, which is imported when the
command is called: each command loads what it needs, and says its first word soon.
"""
