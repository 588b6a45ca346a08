"""The programs and tables behind docs/coming-from.md: one model in seven frameworks, names, and what differs."""
