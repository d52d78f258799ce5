"""The training (paper §3): tiles in batches, steps, checkpoints, and how a run continues."""
