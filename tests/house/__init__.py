"""The house measured: circles, names used twice, long classes, comments, rooms. ``python -m tests.house`` tells them."""
