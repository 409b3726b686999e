"""The embedded engine: aiohttp, in the service's process or in workers."""
