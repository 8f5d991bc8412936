"""Sample workflows; importable as `examples.…` when the clone is the working directory."""
