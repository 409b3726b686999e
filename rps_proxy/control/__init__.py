"""The control plane: sessions, access, leases, readiness, metrics and audit."""
