"""Summarise Korean dialogues: screen, fine-tune, predict and score."""

__version__ = "0.1.0"
