"""`rps doctor`: the checks of a support person, in the order of a start.

Each check is a generator of findings; `page` runs the checks, isolated from each other.
"""
