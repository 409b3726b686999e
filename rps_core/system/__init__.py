"""The machine: paths, the account, programs, signals, files that may be lost."""
