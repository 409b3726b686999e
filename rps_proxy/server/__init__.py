"""The service: its parts put together, and its life."""
