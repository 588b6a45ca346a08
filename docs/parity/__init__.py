"""The tables behind docs/parity.md: other libraries' names, ours, and what each is tested against."""
