"""A user's own service: found, or started."""
