"""Environments made to order: from a file (`--env`) or a list of packages (`--with`)."""
