"""The scenarios of the corpus, one module per walk of life."""
