"""Ask a chat server about dialogues: several at a time, again where it pays, each answer handed over as it comes."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import httpx2
from anyio import create_memory_object_stream, create_task_group, fail_after, sleep
from pydantic import BaseModel, Field, ValidationError

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.pacing import Pace, backoff, retry_after
from dialsum_cli.errors import DialsumError
from dialsum_cli.prompts import Prompt
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import EngineSettings

# httpx2, not the package `openai`: that one (3.54) gives up where Retry-After names more than two minutes, tries again
# by itself past any limit of requests per minute, and reads base URL, organisation and headers from variables.

logger = logging.getLogger("dialsum")

KEY = "OPENAI_API_KEY"
LONGEST_PAUSE = 600  # seconds: a server that asks for more has closed for today

PASSING = {408, 409, 425, 429, *range(500, 600)}  # another try may do: time-outs, too many requests, its own faults
OVERLOADED = {429, 503, 529}
REFUSED = {400, 413, 422}  # the server has understood, and will not have this dialogue


class _Message(BaseModel):
    content: str | None = None  # none where all went into a thought that the server keeps apart


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class Usage(BaseModel):
    """The tokens that a server counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completion(BaseModel):
    """What we read of a chat completion (OpenAI's API reference, "The chat completion object")."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    model: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server wrote about one dialogue; `cut`: it stopped at `max_new_tokens`, or its own filter stopped it."""

    dialogue: Dialogue
    text: str
    cut: bool
    usage: Usage


class _Passing(Exception):  # noqa: N818 - the next try may do
    """A failure that may pass; `pause` are the seconds that the server asks for, None where it names none."""

    def __init__(self, kind: str, detail: str = "", pause: float | None = None, *, overloaded: bool = False) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind, self.pause, self.overloaded = kind, pause, overloaded


class _LeftOut(Exception):  # noqa: N818 - the others go on
    """A dialogue that gets no answer; `weary`: because every try failed, not because the server refused it."""

    def __init__(self, problem: str, *, weary: bool) -> None:
        super().__init__(problem)
        self.weary = weary


class Asker:
    """One round of questions, whose answers come out of `answers`.

    A worker asks its next question when its last answer was taken, so a slow disk lets no answers pile up that would be
    lost, and paid for twice, when the run dies.

    A dialogue that the server refuses, or that fails in all its tries, is left out and the others go on, unless no
    answer comes in between: then the server is at fault, and the round ends once the requests under way are over.

    Attributes:
        failure: what ended the round early.
        left_out: the problem of each dialogue without an answer, by `fname`.
        troubles: how often each kind of failure was met, and tried again.
    """

    def __init__(self, settings: EngineSettings, prompt: Prompt, key: str, reporter: Reporter) -> None:
        self.settings, self.prompt, self.reporter = settings, prompt, reporter
        self._found, self.answers = create_memory_object_stream[Answer]()
        self.failure: DialsumError | None = None
        self.left_out: dict[str, str] = {}
        self.troubles: Counter[str] = Counter()
        self._key = key
        self._pace = Pace(settings.requests_per_minute)
        self._answered = self._barren = 0  # answers so far, and dialogues left out since the last one
        self._served: str | None = None

    async def ask_all(self, dialogues: Sequence[Dialogue]) -> None:
        """Hand the answer of every dialogue to `answers`, as it comes, and close it."""
        with self._found:
            # Time-outs are `_request`'s: httpx2's own start again with every byte that drips in.
            client = httpx2.AsyncClient(
                base_url=self.settings.base_url or "",
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=None,
                limits=httpx2.Limits(max_connections=self.settings.concurrency),
            )
            todo = iter(dialogues)
            async with client, create_task_group() as group:
                for _ in range(min(self.settings.concurrency, len(dialogues))):
                    group.start_soon(self._work, client, todo)

    async def _work(self, client: httpx2.AsyncClient, todo: Iterator[Dialogue]) -> None:
        for dialogue in todo:  # one iterator for all workers
            if self.failure:
                return
            try:
                answer = await self._ask(client, dialogue)
            except DialsumError as failure:
                self.failure = self.failure or failure
            except _LeftOut as reason:
                self._leave_out(dialogue, reason)
            else:
                self._answered += 1
                self._barren = 0
                await self._found.send(answer)

    def _leave_out(self, dialogue: Dialogue, reason: _LeftOut) -> None:
        logger.warning("%s gets no summary: %s", dialogue.fname, reason)
        self.left_out[dialogue.fname] = str(reason)
        self._barren += 1
        if self._barren > (1 if reason.weary else self.settings.concurrency) and self.failure is None:
            self.failure = DialsumError(
                f"the server {'keeps failing' if reason.weary else 'refuses one dialogue after another'}: {reason}",
                "see to the server, or check --base-url, --api-model and --max-new-tokens; the same command then goes "
                "on from here",
            )

    async def _ask(self, client: httpx2.AsyncClient, dialogue: Dialogue) -> Answer:
        """The answer, after as many tries as are allowed."""
        tries, answered = 0, self._answered
        while True:
            await self._pace.turn()
            try:
                return await self._request(client, dialogue)
            except _Passing as trouble:
                if trouble.overloaded and self._answered > answered:
                    tries, answered = 0, self._answered  # others get through, so our turn will come
                tries += 1
                if self.failure or tries > self.settings.max_retries:
                    raise _LeftOut(f"{trouble} ({tries} tries)", weary=True) from None
                if not self.troubles[trouble.kind]:
                    self.reporter.warn(f"{self.settings.api_model}: {trouble}; it is asked again")
                self.troubles[trouble.kind] += 1
                pause = trouble.pause or 0.0
            self._pace.pause(pause)  # for all of us: a limit is one of the key, not of this dialogue
            if not pause:
                await sleep(backoff(tries))

    async def _request(self, client: httpx2.AsyncClient, dialogue: Dialogue) -> Answer:
        """One try.

        Raises:
            DialsumError: no request can succeed as things are.
            _LeftOut: the server refuses this dialogue.
            _Passing: the next try may do.
        """
        body = {
            "model": self.settings.api_model,
            "messages": self.prompt.messages(dialogue.text.strip()),
            "max_tokens": self.settings.max_new_tokens,
            "temperature": 0,
        }
        try:
            with fail_after(self.settings.request_timeout):
                response = await client.post("chat/completions", json=body)
        except TimeoutError:
            raise _Passing(f"no answer within {self.settings.request_timeout:g} s") from None
        except httpx2.RequestError as error:
            raise _Passing("connection failed", self._plain(str(error) or type(error).__name__)) from None
        if not response.is_success:
            raise self._problem(response)
        try:
            completion = Completion.model_validate_json(response.content)
        except ValidationError as error:
            raise _Passing("no valid answer", self._plain(error.errors()[0]["msg"])) from None
        self._check_model(completion.model)
        choice = completion.choices[0]
        cut = choice.finish_reason in ("length", "content_filter")
        return Answer(dialogue, choice.message.content or "", cut, completion.usage or Usage())

    def _problem(self, response: httpx2.Response) -> Exception:
        """What a response that is no answer means."""
        status, said = response.status_code, self._said(response)
        if status in PASSING:
            pause = retry_after(response.headers)
            if pause is not None and pause > LONGEST_PAUSE:
                return DialsumError(
                    f"the server wants no request for the next {pause / 60:.0f} minutes (HTTP {status}: {said})",
                    "run the same command again then: it goes on from here",
                )
            return _Passing(f"HTTP {status}", said, pause, overloaded=status in OVERLOADED)
        if status in REFUSED:
            return _LeftOut(f"HTTP {status}: {said}", weary=False)
        if status in (401, 403):
            remedy = f"check the key in the variable {KEY}" if self._key else f"put the key into the variable {KEY}"
            return DialsumError(f"the server refuses us (HTTP {status}: {said})", remedy)
        return DialsumError(
            f"no answer from '{self.settings.base_url}' (HTTP {status}: {said})",
            "check --api-model and --base-url, which mostly ends in /v1",
        )

    def _said(self, response: httpx2.Response) -> str:
        """What a server says of its refusal, whatever shape it has."""
        try:
            content = response.json()
        except ValueError:
            content = response.text
        if isinstance(content, dict):
            content = content.get("error", content.get("detail", content))
        if isinstance(content, dict):
            content = content.get("message", content)
        return self._plain(str(content)) or "no reason given"

    def _plain(self, text: str) -> str:
        """A server's words in one line, without the key, which some servers repeat."""
        line = " ".join(text.split())
        line = line.replace(self._key, "***") if self._key else line
        return line if len(line) <= 300 else f"{line[:300]}…"

    def _check_model(self, served: str | None) -> None:
        """Tell of a server that answers in another model's name; one that changes its model ends the round."""
        if served is None or served == self._served:
            return
        if self._served is not None:
            raise DialsumError(
                f"the server has changed its model from {self._served} to {served} while it was being asked",
                "ask one that keeps its model; the summaries so far are the first one's",
            )
        self._served = served
        asked = self.settings.api_model or ""
        if asked not in served and served not in asked:  # `gpt-x` may call itself `gpt-x-2026-01-01`
            self.reporter.warn(f"{asked} was asked for, and the server says that {self._plain(served)} answers")
