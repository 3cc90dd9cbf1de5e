"""Dialogues and their summaries as rows for a Trainer of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import open_prompt
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.settings import GenerationSettings
from dialsum_cli.training.batches import Example, make_examples


@dataclass(frozen=True, slots=True)
class TrainingRows(Dataset[dict[str, list[int]]]):
    """Rows with `input_ids`, `attention_mask` and `labels`, unpadded: `DataCollatorForSeq2Seq` makes batches of them.

    An encoder-decoder's labels are its summary. A causal model's are as long as `input_ids`, -100 for the prompt, then
    the summary with all tokens that end the turn: the loss is on the answer alone.

    Attributes:
        shortened: `fname` of the dialogues that did not fit into the model and lost turns from their middle.
        long_answers: `fname` of those whose summary is longer than `max_new_tokens`.
    """

    examples: Sequence[Example]
    seq2seq: bool
    shortened: Sequence[str]
    long_answers: Sequence[str]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        ids, labels = self.examples[index].inputs(seq2seq=self.seq2seq)
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def training_rows(
    dialogues: Sequence[Dialogue], loaded: LoadedModel, *, prompt: str = "korean", max_new_tokens: int = 160
) -> TrainingRows:
    """Every dialogue with each of its references as a row, token for token as `dialsum finetune` trains on it.

    Args:
        prompt: of chat models: a name or a YAML file, as `--prompt`.
        max_new_tokens: room that a causal model's context keeps for the summary.

    Raises:
        RequestError: there is no such prompt, or `max_new_tokens` leaves no room for a dialogue.
        DataError: a summary has no token to train on, or is so long that the model has no positions for it.
    """
    settings = GenerationSettings(prompt=prompt, max_new_tokens=max_new_tokens)
    ready, most = open_prompt(loaded.spec, loaded.model.config, loaded.tokenizer, settings)
    made = make_examples(dialogues, ready, most, max_new_tokens)
    return TrainingRows(made.items, loaded.is_seq2seq, made.shortened, made.long_answers)
