"""The registry: every session's name, phase and address, in SQLite."""
