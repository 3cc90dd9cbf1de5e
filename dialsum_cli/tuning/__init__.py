"""Searching for options: what is tried, where the trials are kept, and how one is run."""
