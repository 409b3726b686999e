"""The API: version 1, the satellite's calls, the operator's socket."""
