"""Schedulers: each module here is a plugin, registered like any third party's."""
