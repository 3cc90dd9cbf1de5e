"""Dialogues and their summaries as token ids to train on."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt


class Seq2SeqExamples(Dataset[dict[str, list[int]]]):
    """Encoder input and labels of each (dialogue, reference) pair; every reference of a dialogue is an example.

    Attributes:
        shortened: how many dialogues did not fit into the encoder and lost turns.
        tokens: ids in all inputs and labels together.
    """

    def __init__(
        self, dialogues: Sequence[Dialogue], prompt: EncoderPrompt | ChatPrompt, max_tokens: int | None
    ) -> None:
        self.examples: list[dict[str, list[int]]] = []
        self.shortened = 0
        for dialogue in dialogues:
            encoded = prompt.encode(dialogue.text, max_tokens)
            self.shortened += encoded.shortened
            for reference in dialogue.references:
                self.examples.append({"input_ids": encoded.ids, "labels": prompt.answer_ids(reference)})
        self.tokens = sum(len(example["input_ids"]) + len(example["labels"]) for example in self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.examples[index]
