"""The scheduler Toy and its plugin for rps."""
