"""Server rules: how updates become a new global model."""
