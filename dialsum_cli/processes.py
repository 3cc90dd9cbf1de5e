"""The processes of an `accelerate launch`: which one this is, and how they wait for and tell each other."""

import atexit
import os
from contextlib import suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # a share of the work may end hours before another one


def number() -> int:
    """This process's number among all of the launch; 0 without one."""
    return int(os.environ.get("RANK") or "0")


def count() -> int:
    """How many processes the launch has, on all its hosts; 1 without one."""
    return int(os.environ.get("WORLD_SIZE") or "1")


def count_here() -> int:
    """How many of them this host has."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or "1")


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return number() == 0


def is_first_here() -> bool:
    """Whether this process is the first one of its host."""
    return (os.environ.get("LOCAL_RANK") or "0") == "0"


def wait() -> None:
    """Go on when all processes have come here; raises as `gathered`."""
    gathered(None)


def told(value: T) -> T:
    """The first process's value, in every process; raises as `gathered`."""
    return gathered(value)[0]


class ElsewhereError(Exception):
    """Another process of the launch failed at what all of them were doing: says which one, and why."""


def gathered(value: T) -> list[T]:
    """Every process's value, by its number.

    All that processes wait for goes through here, so that one that failed is heard wherever the others wait.

    Raises:
        ElsewhereError: another process says `failed` instead.
        SystemExit: another process is gone, and with it the launch.
    """
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    group = _group()
    try:
        torch.distributed.all_gather_object(values, value, group=group)
    except RuntimeError as error:  # a connection was closed: the launcher ends all processes when one has died
        raise SystemExit(f"a process of the launch is gone: {error}") from error
    for each in values:
        if isinstance(each, ElsewhereError):
            raise each
    return values


def failed(reason: str) -> None:
    """Tell the other processes, where they wait next, that this one failed at what all of them were doing."""
    with suppress(ElsewhereError):  # this one's own, or another's that failed as well
        gathered(ElsewhereError(f"process {number()}: {reason}"))


def leave() -> None:
    """Leave the launch, where this process has joined it, before it ends: a GPU's group complains otherwise."""
    if _group.cache_info().currsize:
        import torch.distributed

        _end_group()
        torch.distributed.destroy_process_group()


def post(notice: str) -> None:
    """Put up a notice, which the other processes see without waiting for it."""
    _board().set(notice, "")


def posted(notice: str) -> bool:
    """Whether a process has put up this notice."""
    return bool(_board().check([notice]))


@cache
def _board() -> Any:
    """The board by which the processes of the launch found each other."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)


@cache
def _group() -> "ProcessGroup":
    """All processes over their hosts' network: a GPU's own group would keep it busy waiting, and give up early."""
    import torch
    import torch.distributed
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())  # joins the launch, and takes this process's device
    group: ProcessGroup = torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
    atexit.register(_end_group)
    return group


def _end_group() -> None:
    """End the group's threads while Python still runs: one that outlives it may abort the process at its end.

    This waits for no other process, so that it does no harm where another one is gone.
    """
    if _group.cache_info().currsize:
        import torch.distributed

        torch.distributed.destroy_process_group(_group())
        _group.cache_clear()  # the last reference: the threads end with it
