"""The defaults of rps, as YAML; read with importlib.resources."""
