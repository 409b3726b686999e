"""`rps doctor`: what a support person would check, in the order of a start. Each check is a generator of
findings; `page` runs them, each for itself."""
