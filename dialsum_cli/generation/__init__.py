"""Generation: batches, decoding, engines."""
