"""`rps proxy`: the operator's commands."""
