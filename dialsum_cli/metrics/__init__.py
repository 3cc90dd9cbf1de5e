"""How good a summary is: ROUGE over Mecab morphemes, and how sure one may be of a difference."""
