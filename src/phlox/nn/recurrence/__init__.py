"""recurrence."""
