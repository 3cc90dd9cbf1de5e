"""Training: batches and trainers."""
