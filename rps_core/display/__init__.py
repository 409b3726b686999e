"""Output for users: tables, progress, explanations."""
