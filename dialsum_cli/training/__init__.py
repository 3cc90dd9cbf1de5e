"""Training: what is trained, in which batches and steps, how far, and what is kept."""
