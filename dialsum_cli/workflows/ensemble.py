"""`dialsum ensemble`: choose among the summaries of several systems by minimum Bayes risk."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dialsum_cli.data.dialogues import read_gold
from dialsum_cli.data.submissions import align, columns_by_file, read_submission, some_ids
from dialsum_cli.data.writing import check_output, write_submission
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.mbr import FINAL_SCORE, Choice, Weights, choose
from dialsum_cli.metrics.morphemes import DICTIONARY, Tokenizer
from dialsum_cli.metrics.morphemes import tokenizer as tokenizer_named
from dialsum_cli.metrics.rouge import PreparedText
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Score, score_all
from dialsum_cli.metrics.statistics import gain
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import LEVEL, EnsembleResult, EnsembleSystem, Scores
from dialsum_cli.settings import EnsembleSettings

FAMILY = 60.0
"""Mean final score with each other from which on two systems count as one family.

Measured: draws of one model at temperature 0.5 agree by 60 to 75, the two bundled models, trained on the same data, by
50, two fine-tunings of KoBART by 46.
"""
EVERYTHING = 0.95
"""Share of the rows from which on one family or system has won everything."""


def ensemble(settings: EnsembleSettings, reporter: Reporter = QUIET) -> EnsembleResult:
    """Write, for each dialogue, the summary of the files that the other ones agree with most.

    The rows are in the order of the gold, or of the first file where there is none. With a gold, equal utilities are
    decided by the system that scores higher there; without one by the larger system weight, then by the file given
    first.

    Raises:
        DataError: a file can't be read, or the ids of two files differ.
        RequestError: the output exists, or is, or is in, what is read; `refs` without a gold; no file has a column
            that `columns` names.
        MissingPartError: Mecab isn't installed as it has to be.
        DialsumError: Mecab's dictionary is another one, or the output can't be written.
    """
    if settings.refs != "mean" and not settings.gold:
        raise RequestError(
            f"--refs {settings.refs} means nothing without --gold", "leave it out, or add --gold DEV.csv"
        )
    check_output(settings.output, overwrite=settings.overwrite, read=[*settings.files, *settings.gold])
    tokenizer = tokenizer_named(settings.tokenizer, allow_other_dictionary=settings.allow_other_dictionary)
    if tokenizer.dictionary not in ("none", DICTIONARY):
        reporter.warn(f"Mecab's dictionary is {tokenizer.dictionary}, not {DICTIONARY}: compare with nothing else")
    fnames, references, summaries = _read(settings, reporter)
    scores: list[Score] = []
    if references:
        scores = score_all(summaries, references, refs=settings.refs, tokenizer=tokenizer, seed=settings.seed)
    preference = _preference(settings, scores)
    tally = _Tally()
    with reporter.stage("Choosing", len(fnames), "dialogues") as stage:
        for candidates in zip(*summaries, strict=True):
            tally.count(candidates, _choose(candidates, settings, tokenizer, preference))
            stage.advance()
    sha256 = write_submission(settings.output, zip(fnames, tally.chosen, strict=True), overwrite=settings.overwrite)
    result = EnsembleResult(
        output=settings.output,
        rows=len(fnames),
        sha256=sha256,
        verdict="unknown",
        systems=_systems(settings, tally, scores),
        decided_by_order=tally.tied,
        left_out=tally.left_out.total(),
    )
    if references:
        whole, constant = score_all(
            [tally.chosen, [CONSTANT_SENTENCE] * len(fnames)], references,
            refs=settings.refs, tokenizer=tokenizer, seed=settings.seed,
        )  # fmt: skip
        compared = _compared(whole, scores[preference[0]], settings, preference[0])
        result = result.model_copy(update=compared | {"floor": {"constant sentence": constant.final_score}})
    _warn(result, reporter)
    return result


def _read(settings: EnsembleSettings, reporter: Reporter) -> tuple[list[str], list[tuple[str, ...]], list[list[str]]]:
    """The ids, each one's references (none without a gold), and each system's summaries in their order."""
    note = reporter.note
    columns = columns_by_file([*settings.files, *settings.gold], settings.columns, note)
    systems = [(path, read_submission(path, columns=columns[path], note=note)) for path in settings.files]
    if not settings.gold:
        first, summaries = systems[0]
        for path, others in systems[1:]:
            _check_ids(path, others.keys(), first, summaries.keys())
        fnames = list(summaries)
        return fnames, [], [[each[fname] for fname in fnames] for _, each in systems]
    gold, *more = settings.gold
    references = read_gold(str(gold), columns=columns[gold], note=note)
    fnames = list(references)
    rows = list(references.values())
    for path in more:
        aligned = align(path, read_gold(str(path), columns=columns[path], note=note), fnames, gold)
        rows = [row + others for row, others in zip(rows, aligned, strict=True)]
    return fnames, rows, [align(path, each, fnames, gold) for path, each in systems]


def _check_ids(path: Path, fnames: Collection[str], first: Path, known: Collection[str]) -> None:
    """Refuse a file with other ids than the first: nothing is ever joined by row order."""
    missing, extra = [each for each in known if each not in fnames], [each for each in fnames if each not in known]
    faults = [f"lacks {some_ids(missing)}"] * bool(missing) + [f"has {some_ids(extra)} beyond them"] * bool(extra)
    if faults:
        raise DataError(f"'{path}' {' and '.join(faults)} ('{first}')", "give prediction files of the same dialogues")


def _preference(settings: EnsembleSettings, scores: Sequence[Score]) -> list[int]:
    """The systems, the better one first."""
    merits = [each.final_score for each in scores] or settings.shares
    return sorted(range(len(merits)), key=lambda system: -merits[system])


def _choose(
    candidates: Sequence[str], settings: EnsembleSettings, tokenizer: Tokenizer, preference: Sequence[int]
) -> Choice:
    nothing = dict.fromkeys(Weights._fields, 0.0)
    return choose(
        [PreparedText(tokenizer.join(text)) for text in candidates],
        weights=Weights(**nothing | settings.weights) if settings.weights else FINAL_SCORE,
        shares=settings.shares,
        preference=preference,
        max_length_ratio=settings.max_length_ratio,
    )


@dataclass(slots=True)
class _Tally:
    """What is counted while the dialogues go by, by system."""

    chosen: list[str] = field(default_factory=list)
    wins: Counter[int] = field(default_factory=Counter)
    same: Counter[int] = field(default_factory=Counter)
    empty: Counter[int] = field(default_factory=Counter)
    left_out: Counter[int] = field(default_factory=Counter)
    agreement: defaultdict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    """Sums of scores, 0 to 1: of a system with another one as the reference."""
    tied: int = 0

    def count(self, candidates: Sequence[str], choice: Choice) -> None:
        """One dialogue's candidates and which of them was chosen."""
        text = candidates[choice.index]
        self.chosen.append(text)
        self.wins[choice.index] += 1
        self.tied += choice.tied
        for system, (candidate, row) in enumerate(zip(candidates, choice.scores, strict=True)):
            self.same[system] += candidate == text
            self.empty[system] += not row[system].rouge1
            self.left_out[system] += system in choice.left_out
            for other, pair in enumerate(row):
                self.agreement[system, other] += pair.mean


def _systems(settings: EnsembleSettings, tally: _Tally, scores: Sequence[Score]) -> list[EnsembleSystem]:
    rows, systems = len(tally.chosen), range(len(settings.files))
    agreement = [[100 * tally.agreement[one, other] / rows for other in systems] for one in systems]
    return [
        EnsembleSystem(
            path=str(path), weight=weight, family=family, agreement=mine, chosen=tally.wins[system],
            same=tally.same[system], empty=tally.empty[system], left_out=tally.left_out[system],
            final_score=scores[system].final_score if scores else None, ci95=scores[system].ci95 if scores else None,
        )
        for system, (path, weight, family, mine) in enumerate(
            zip(settings.files, settings.shares, _families(agreement), agreement, strict=True)
        )
    ]  # fmt: skip


def _families(agreement: Sequence[Sequence[float]]) -> list[int]:
    """A number for each system, from 1: whoever agrees enough with a member of a family belongs to it."""
    families = list(range(len(agreement)))
    for one, row in enumerate(agreement):
        for other in range(one):
            if (row[other] + agreement[other][one]) / 2 >= FAMILY:
                old, new = families[one], families[other]
                families = [new if each == old else each for each in families]
    numbers = {family: number for number, family in enumerate(dict.fromkeys(families), 1)}
    return [numbers[family] for family in families]


def _compared(whole: Score, best: Score, settings: EnsembleSettings, index: int) -> dict[str, object]:
    """What a gold tells: the verdict on the ensemble beside the best single system."""
    gained = gain(whole.items.final_score, best.items.final_score, seed=settings.seed)
    worth_it = gained["gain"] > 0 and gained["p_value"] < LEVEL
    return {
        "verdict": "ensemble" if worth_it else "do not ensemble",
        "score": Scores.of(whole),
        "best": str(settings.files[index]),
        **gained,
        "signature": whole.signature,
    }


def _warn(result: EnsembleResult, reporter: Reporter) -> None:
    systems, rows = result.systems, result.rows
    if len(systems) == 2:
        reporter.warn(
            "two systems have no majority: only ROUGE-L, which isn't symmetric, and the order of the files decide; "
            "give three or more"
        )
    for each in systems:
        if each.empty:
            reporter.warn(f"'{each.path}': of {rows} summaries {each.empty} without a word, which agree with nothing")
    for name, final_score in result.floor.items():
        if result.score and result.score.final_score < final_score:
            reporter.warn(
                f"the ensemble scores {result.score.final_score:.2f}, below the {final_score:.2f} of the {name}"
            )
    winner = max(systems, key=lambda each: each.same)
    if winner.same >= EVERYTHING * rows:
        reporter.warn(f"'{winner.path}' wins everything: {winner.same} of {rows} rows are as it wrote them")
    for number in {each.family for each in systems}:
        members = [each for each in systems if each.family == number]
        listed = ", ".join(f"'{each.path}'" for each in members)
        if len(members) == len(systems) and len(members) > 2:
            reporter.warn(
                f"all systems are one family, so much alike that they can hardly correct each other: {listed}"
            )
        elif 1 < len(members) < len(systems) and sum(each.chosen for each in members) >= EVERYTHING * rows:
            reporter.warn(
                f"one family wins everything, because its members vote for each other: {listed}; "
                "give one of them, or lower their --system-weights"
            )
