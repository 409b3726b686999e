"""The environment that a notebook's packages are in: found, read and described."""
