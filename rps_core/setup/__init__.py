"""`rps init`: the questions and their choices."""
