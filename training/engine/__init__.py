"""What every training run shares: device and ranks, optimisers, checkpoints without pickle, logs, the loop."""
