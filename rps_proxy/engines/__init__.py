"""The data plane: one package for each engine. No engine imports another."""
