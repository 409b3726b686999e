"""Live sessions: their state, and what is done with them."""
