"""Run dialsum as a program, or as `python -m dialsum_cli`, which is what `accelerate launch -m` does."""

import sys


def main() -> None:
    """The `dialsum` program; Ctrl-C while its modules are still read ends it in one line, as later."""
    try:
        from dialsum_cli.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
