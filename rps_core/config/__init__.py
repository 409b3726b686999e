"""The configuration: layers of YAML, merged onto a schema, and profiles."""
