"""Run dialsum as `python -m dialsum_cli`, which is what `accelerate launch -m` does."""

from dialsum_cli.cli import main

main()
