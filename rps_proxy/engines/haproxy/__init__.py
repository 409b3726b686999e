"""HAProxy as the engine."""
