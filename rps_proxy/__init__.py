"""The Reverse Proxy Service: names, leases and the way to the notebook."""
