"""Apache as the engine."""
