"""The processes of an `accelerate launch`: which one this is, and how they wait for and tell each other."""

import os
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # a share of the work may end hours before another one


def number() -> int:
    """This process's number among all of the launch; 0 without one."""
    return int(os.environ.get("RANK", "0"))


def count() -> int:
    """How many processes the launch has, on all its hosts; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return number() == 0


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        import torch.distributed

        torch.distributed.barrier(group=_group())


def told(value: T) -> T:
    """The first process's value, in every process."""
    return gathered(value)[0]


def gathered(value: T) -> list[T]:
    """Every process's value, by its number."""
    if count() == 1:
        return [value]
    import torch.distributed

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value, group=_group())
    return values


@cache
def _group() -> "ProcessGroup":
    """All processes over their hosts' network: a GPU's own group would keep it busy waiting, and give up early."""
    import torch
    import torch.distributed
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())  # joins the launch, and takes this process's device
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
