"""The HTTP server of the service and its workers: connections, limits, bodies."""
