"""What `dialsum predict` and `dialsum check` return."""

from pathlib import Path
from typing import Literal

from dialsum_cli.results.base import Result


class Finding(Result):
    """One thing that is wrong with a submission or with training data, or odd in it.

    Attributes:
        check: its name, as `missing_ids`.
        kind: a fault makes the submission unfit; a warning doesn't; a note is to be looked at.
        rows: how many rows it was found in.
        examples: the first of them, by line and `fname`.
        remedy: what to do about it.
    """

    check: str
    kind: Literal["fault", "warning", "note"]
    what: str
    rows: int
    examples: list[str]
    remedy: str

    @property
    def where(self) -> list[str]:
        """The examples, and `...` if there are rows beyond them."""
        return [*self.examples, *["..."] * (0 < len(self.examples) < self.rows)]


class CheckResult(Result):
    """Whether a submission is fit to be handed in; lengths are mean characters of a summary."""

    table = "findings"

    submission: Path
    data: str
    rows: int
    fit: bool
    length: float | None
    train_length: float | None
    """Of the training summaries; None without `--train`."""
    findings: list[Finding]
    """Faults first."""
    limit: int | None = None
    """Where only the first dialogues of the data were asked for, how many."""

    @property
    def failed(self) -> bool:
        """Whether it has a fault."""
        return not self.fit


class PredictResult(Result):
    """A written submission."""

    output: Path
    data: str
    rows: int
    seconds: float
    dialogues_per_second: float
    empty: int
    truncated: int
    prompts_truncated: int
    """Dialogues that were shortened to fit into the model."""
    chunked: int
    """Dialogues that were summarised in parts."""
    sha256: str
    run_dir: Path
    check: CheckResult
    samples: list[Path] = []
    """Files with all samples, where they were kept."""
