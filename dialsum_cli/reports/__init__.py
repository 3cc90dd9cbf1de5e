"""Pages to look at: one self-contained file of HTML that opens from disk."""
