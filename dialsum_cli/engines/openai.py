"""The openai engine: summaries from any server that speaks OpenAI's chat API."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

from anyio import EndOfStream
from anyio.abc import ObjectReceiveStream
from anyio.from_thread import BlockingPortal, start_blocking_portal

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.asking import KEY, Answer, Asker
from dialsum_cli.engines.pacing import work_left
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import clean_answer
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import EngineSettings
from dialsum_cli.summarizer import Batch, Decoding, Engine, ModelFacts, Summary
from dialsum_cli.text import without_half

logger = logging.getLogger("dialsum")

FORMAT = 1  # raise it with every change of what is asked or of what is made of an answer: kept ones are asked again

# What some tokenizer takes for a control token. A server tokenises what it is sent, and most let a dialogue write them.
_CONTROL = re.compile(r"<\|[^\s<>|]{1,40}\|>|</?s>|\[/?(?:INST|SYS)\]|<(?:start|end)_of_turn>|</?think>")


@contextmanager
def open_served(spec: ModelSpec, settings: EngineSettings, reporter: Reporter) -> Iterator[tuple[Engine, ModelFacts]]:
    """A model behind `base_url` as a summarizer; nothing is asked before the first dialogue.

    Raises:
        RequestError: the key can't be one.
    """
    yield ServerSummarizer(settings, reporter), ModelFacts(spec)


class ServerSummarizer:
    """Summarises by asking a server about several dialogues at a time; each answer is a batch of its own.

    The key comes from the variable OPENAI_API_KEY, and goes nowhere but into the header of the requests.
    """

    def __init__(self, settings: EngineSettings, reporter: Reporter) -> None:
        self.settings, self.reporter = settings, reporter
        self.prompt = load_prompt(settings.prompt)
        self.prompt_name: str | None = self.prompt.name
        self.decoding: Decoding | None = None  # the server's own affair
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise RequestError(f"the variable {KEY} holds what can't be a key", "put the key alone into it")

    def ingredients(self) -> Mapping[str, object]:
        """All that decides a summary's text but its dialogue, as far as a server lets anyone know.

        No versions of ours: an answer may have cost money, and `FORMAT` tells what of it is our doing.
        """
        return {
            "engine": "openai",
            "base_url": self.settings.base_url,
            "model": self.settings.api_model,
            "prompt": {"system": self.prompt.system, "user": self.prompt.user},
            "options": {"max_new_tokens": self.settings.max_new_tokens},
            "format": FORMAT,
        }

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield each summary as its answer comes.

        Raises:
            DialsumError: the server refuses us, or keeps failing, or has left out some dialogues; all answers that
                came have been yielded by then.
        """
        suspicious = sum(bool(_CONTROL.search(dialogue.text)) for dialogue in dialogues)
        if suspicious:
            self.reporter.warn(
                f"{suspicious} of {len(dialogues)} dialogues hold texts that a server may take for control tokens"
            )
        asker = Asker(self.settings, self.prompt, self._key, self.reporter)
        start = last = perf_counter()
        answered = 0
        # The requests have a thread of their own: the event loop of a notebook is busy with the notebook. Whatever ends
        # this early (Ctrl-C, a model's minutes are up) cancels them.
        with asker.answers, start_blocking_portal() as portal:
            asking = portal.start_task_soon(asker.ask_all, dialogues)
            for answer in _taken(portal, asker.answers):
                now = perf_counter()
                answered += 1
                seconds, last = max(now - last, 1e-6), now
                yield Batch(
                    [_summary(answer)],
                    work_left=work_left(answered, len(dialogues), self.settings.concurrency, now - start, seconds),
                    seconds=seconds,
                    prompt_tokens=answer.usage.prompt_tokens,
                    summary_tokens=answer.usage.completion_tokens,
                )
            asking.result()  # raises what is no trouble with the server
        tries = ", ".join(f"{count} x {kind}" for kind, count in asker.troubles.most_common())
        logger.info("%s: %d answers; tried again after: %s", self.settings.api_model, answered, tries or "nothing")
        if asker.failure:
            raise asker.failure
        if asker.left_out:
            fname, problem = next(iter(asker.left_out.items()))
            others = f" and {len(asker.left_out) - 1} more" if len(asker.left_out) > 1 else ""
            raise DialsumError(
                f"{len(asker.left_out)} of {len(dialogues)} dialogues got no summary: {fname}{others} ({problem})",
                "the same command asks for these alone again; the log names all that may have to leave the data",
            )


def _taken(portal: BlockingPortal, answers: ObjectReceiveStream[Answer]) -> Iterator[Answer]:
    """The answers of a stream that lives in the portal's thread, until it is closed."""
    while True:
        try:
            yield portal.call(answers.receive)
        except EndOfStream:
            return


def _summary(answer: Answer) -> Summary:
    text = without_half(answer.text) if answer.cut else answer.text
    thinking = "</think>" in text and not text.lstrip().startswith("<think>")  # the template had opened the block
    return Summary(answer.dialogue.fname, clean_answer(text, thinking=thinking), truncated=answer.cut)
