"""Writes docs/screen.svg: what a terminal shows of `dialsum screen`, from a real run on the bundled models and data."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("screen.svg")
COLUMNS, ROWS = 96, 40
COMMAND = "dialsum screen"
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's own picture, less the fonts that it would fetch: it is the same wherever it is looked at."""


def record(command: list[str], folder: Path) -> str:
    """What a program writes to a terminal that is so wide and doesn't move.

    Raises:
        subprocess.CalledProcessError: the program failed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "TTY_INTERACTIVE": "0"}  # no bars that come and go
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR" and "DIALSUM" not in name}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=plain | terminal) as run:
        os.close(theirs)
        written = b""
        while part := _read(ours):
            written += part
    os.close(ours)
    if run.returncode:
        sys.stderr.write(written.decode())
        raise subprocess.CalledProcessError(run.returncode, command)
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


def picture(written: str) -> str:
    """The command and what it wrote as an SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), COMMAND))
    console.print(Text.from_ansi(written.replace("\x1b[?25h\n", "")))  # the line that a bar left behind
    return console.export_svg(title="dialsum", code_format=FORMAT, unique_id="dialsum")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:  # an empty one: nothing is kept from an earlier run
        written = record([sys.executable, "-m", "dialsum_cli", *COMMAND.split()[1:]], Path(folder))
    PICTURE.write_text(picture(written), encoding="utf-8")
