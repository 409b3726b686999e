"""Plugins: discovery, registration, and typed access to their hooks."""
