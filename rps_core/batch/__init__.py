"""Batch scripts: the shell files that schedulers share, and their rendering."""
