"""Comet, at SDSC."""
