"""Certificates and TLS contexts, in front and towards notebooks."""
