"""The defaults of rps, as YAML; read from beside this file."""
