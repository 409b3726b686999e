"""`rps start`: the plan, the allocation, the start."""
