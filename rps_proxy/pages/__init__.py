"""The pages that a session's host shows while no notebook does."""
