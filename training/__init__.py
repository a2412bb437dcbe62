"""Everything that makes the weights: run each module from the repository root as `python -m training.<module>`."""
