"""Caches on disk: where they are, what is in them, what may go, and how it goes."""
