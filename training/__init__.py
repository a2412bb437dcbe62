"""Everything that makes the weights. Run a stage from the repository root: `python -m training STAGE --help`."""
