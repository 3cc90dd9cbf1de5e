"""Models: loading, what they may write, and baselines without weights."""
