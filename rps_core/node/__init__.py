"""The part of rps that runs on the compute node."""
