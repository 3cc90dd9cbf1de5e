"""`dialsum` that sends itself a signal at an event which is counted: a test that kills it needs no luck.

It never waits for the disk: what a killed process has written is the kernel's, and a busy disk may take seconds.

    python frail.py EVENT:COUNT:SIGNAL[:RANK] ARGUMENTS...

The events before the counted one are over. With a rank, only that process of an `accelerate launch` is frail.
"""

import os
import signal
import sys
import time

import psutil

# By the interpreter's own events, each of which comes just before what it tells of; a step is told by torch.
EVENTS = {
    "keep": lambda event, given: event == "open" and str(given[0]).endswith(".jsonl") and given[2] & os.O_APPEND,
    "remove": lambda event, given: event == "os.remove",
    "import": lambda event, given: event == "import",
    "checkpoint": lambda event, given: event == "open" and ".unfinished" in str(given[0]),
    "rename": lambda event, given: event == "os.rename" and "checkpoint" in str(given[1]),
    "input": lambda event, given: event == "builtins.input",
    "step": lambda event, given: event == "step",
}


def frail(event, count, how, rank=""):
    """The command that runs `dialsum`, which is sent the signal `how` when there have been so many events."""
    return [sys.executable, __file__, f"{event}:{count}:{how.name}:{rank}"]


def wait_for(condition, child, seconds=240):
    """Wait until the condition holds; fail where the child ends before, or it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, f"it ended with {child.returncode} before it could be disturbed"
        assert time.monotonic() < deadline, f"not in {seconds} seconds"
        time.sleep(0.01)


def wait_for_stop(child):
    """Wait until a child has stopped itself (SIGSTOP)."""
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, child)


def main():
    """Run `dialsum`."""
    event, count, how, rank = sys.argv.pop(1).split(":")
    left = int(count)

    def hook(*seen):
        nonlocal left
        if EVENTS[event](*seen):
            left -= 1
            if left == -1:
                os.kill(os.getpid(), signal.Signals[how])

    os.fsync = lambda descriptor: None
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started without
    if rank in ("", os.environ.get("RANK")):
        sys.addaudithook(hook)
        if event == "step":
            from torch.optim.optimizer import register_optimizer_step_pre_hook

            register_optimizer_step_pre_hook(lambda *_: sys.audit("step"))
    from dialsum_cli.__main__ import main

    sys.exit(main())


if __name__ == "__main__":
    main()
