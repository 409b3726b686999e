"""The scheduler of one machine without a cluster."""
