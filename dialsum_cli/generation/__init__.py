"""Generation: batches, and decoding in them."""
