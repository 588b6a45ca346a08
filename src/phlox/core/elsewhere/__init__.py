"""elsewhere."""
