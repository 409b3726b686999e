"""The launcher's client of the Reverse Proxy Service."""
