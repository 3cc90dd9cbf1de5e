"""One optimizer step: micro-batches of a token budget, and gradients that are summed over all processes of a launch."""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress

import torch
import torch.distributed
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dialsum_cli import processes
from dialsum_cli.errors import MemoryShortError
from dialsum_cli.models.kernels import ready_attention
from dialsum_cli.models.loading import LoadedModel, out_of_memory
from dialsum_cli.models.planning import DTYPES, half
from dialsum_cli.registry import Recipe
from dialsum_cli.training.batches import AnswerLoss, Example, collate, micro_batches, padded_tokens
from dialsum_cli.training.lora import quicken

BUCKET = 2**24  # numbers that are summed over the processes at once: few calls, and little memory for their copy


class Steps:
    """How one optimizer step is computed: micro-batches of a token budget, their gradients summed.

    The loss is the mean over all answer tokens of the step, whatever its micro-batches, and whatever the processes of
    the launch: each computes its share of the rows, and the gradients are summed once, at the end of the step. That is
    not done by DistributedDataParallel: it sums inside the backward pass, so that no process could have fewer
    micro-batches than another one, or compute a step again when its memory runs out. What it would gain is the time of
    summing, some 2 ms for 500 MB over NVLink.
    """

    def __init__(self, loaded: LoadedModel, recipe: Recipe, budget: int, warn: Callable[[str], None]) -> None:
        quicken(loaded.model)
        self.loss = AnswerLoss(loaded.model, recipe.label_smoothing)
        self.budget, self.warn = budget, warn
        self.pad_id: int = loaded.tokenizer.pad_token_id
        self.device = loaded.model.device
        # The format of matrix products on a GPU, which adapters and trained weights in fp32 need told.
        self.half = DTYPES[half()] if self.device.type == "cuda" else None
        self.parameters = [each for each in loaded.model.parameters() if each.requires_grad]

    def share(self, rows: Sequence[Example]) -> Sequence[Example]:
        """This process's rows of a step; none where a step has fewer rows than there are processes."""
        return rows[processes.number() :: processes.count()]

    def compute(self, rows: Sequence[Example], backward: Callable[[torch.Tensor], None]) -> torch.Tensor:
        """This process's part of a step's loss, its gradients added up in the parameters.

        Out of memory halves the budget for all that is left, and computes the same step again.

        Args:
            rows: of the whole step, in all processes.
            backward: computes the gradients of a loss.

        Raises:
            DialsumError: a single row does not fit into memory.
        """
        trained, share = sum(len(row.answer_ids) for row in rows), self.share(rows)
        while True:
            try:
                return self.gradients(share, trained, backward)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Out of the handler: the exception keeps the step's tensors alive.
            self.halve(micro_batches(share, self.budget))

    def gradients(
        self, rows: Sequence[Example], trained: int, backward: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        """The loss of these rows, of a step that trains so many tokens, its gradients added up in the parameters."""
        total = torch.zeros((), device=self.device)
        for batch in micro_batches(rows, self.budget):
            tensors = collate(batch, self.pad_id, seq2seq=self.loss.seq2seq)
            with ready_attention():
                with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
                    loss = self.loss(tensors, trained)
                backward(loss)
            total += loss.detach()
        return total

    def add_up(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss of the whole step, and its gradients in every process, whatever each has computed of it.

        What did not fit into one process's memory is from here on tried in none.

        Raises:
            ElsewhereError: another process could not compute its part.
        """
        if processes.count() == 1:
            return loss
        told = processes.gathered((self.budget, [each.grad is not None for each in self.parameters]))
        smallest = min(budget for budget, _ in told)
        if smallest < self.budget:
            self.budget = smallest
            self.warn(f"out of memory in another process: {smallest} tokens are computed at once from here on")
        # What no row has trained stays without a gradient: an optimizer would decay it.
        trained = [*compress(self.parameters, map(any, zip(*(has for _, has in told), strict=True)))]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in trained if parameter.grad is not None]):
            if len(bucket) == 1:  # in place: a copy of an embedding's gradient might find no room
                torch.distributed.all_reduce(bucket[0])
                continue
            flat = parameters_to_vector(bucket)
            torch.distributed.all_reduce(flat)
            vector_to_parameters(flat, bucket)
        torch.distributed.all_reduce(loss)
        return loss

    def share_weights(self) -> None:
        """Give all processes the first one's trained weights: another kind of GPU may have made others of the seed."""
        if processes.count() > 1:
            processes.wait()
            for parameter in self.parameters:
                torch.distributed.broadcast(parameter.data, src=0)

    def halve(self, batches: Sequence[Sequence[Example]]) -> None:
        """Free what a step has left behind, and compute half as much at once as these batches from here on.

        Raises:
            DialsumError: one row is computed at once already.
        """
        self.clear()
        torch.cuda.empty_cache()
        # A row that is computed alone may be shorter than several others together.
        several = [padded_tokens(batch) for batch in batches if len(batch) > 1]
        if not several:
            raise MemoryShortError(
                f"out of memory on a single example of {max(map(padded_tokens, batches))} tokens",
                "use --method qlora, --gradient-checkpointing on, or a smaller model",
            )
        self.budget = max(several) // 2
        self.warn(f"out of memory: {self.budget} tokens are computed at once from here on")

    def clear(self) -> None:
        """Throw the gradients away."""
        for parameter in self.parameters:
            parameter.grad = None


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Gradients in groups of at most `BUCKET` numbers, a larger one by itself."""
    bucket: list[torch.Tensor] = []
    for gradient in gradients:
        if bucket and sum(each.numel() for each in [*bucket, gradient]) > BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
