"""The patterns of examples/patterns, set up small and in float64, and written again by hand in PyTorch."""
