"""The embedded engine in several processes."""
