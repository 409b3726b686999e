"""Schedulers: each package is a plugin, registered like a third party's."""
