"""Engines: what makes a summarizer of a model."""
