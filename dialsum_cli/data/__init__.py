"""Dialogues and prediction files, read and validated."""
