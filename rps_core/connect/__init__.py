"""`rps connect`: a session on a cluster, from the user's own computer by ssh."""
