"""`--show-prompt` of `dialsum screen` and `dialsum predict`: what the models would be given."""

from dialsum_cli import registry
from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.errors import RequestError
from dialsum_cli.prompts import load_prompt
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import PromptsResult, ShownPrompt
from dialsum_cli.settings import PredictSettings, ScreenSettings


def show_prompt(settings: ScreenSettings | PredictSettings, reporter: Reporter = QUIET) -> PromptsResult:
    """The first dialogue as each model would get it; only tokenizers are loaded, no weights.

    Raises:
        RequestError: no such prompt or model; the data can't be read; the prompt doesn't fit into a model.
        DialsumError: a tokenizer can't be loaded, or its chat template not be used.
    """
    from dialsum_cli.engines.huggingface import open_prompt
    from dialsum_cli.models.loading import load_tokenizer, open_checkpoint
    from dialsum_cli.models.trained import as_trained

    load_prompt(settings.prompt)  # a typo is one, whatever the models are
    if settings.served:
        raise RequestError("a server keeps its token ids to itself: there is nothing to show", "leave --base-url out")
    (dialogue,) = read_dialogues(settings.data, columns=settings.columns, limit=1, note=reporter.note)
    prompts = []
    for name in settings.models if isinstance(settings, ScreenSettings) else settings.members:
        spec = registry.resolve(name)
        if spec.kind == "baseline":
            reporter.note(f"{name} is a baseline: nothing is asked of it")
            continue
        checkpoint = open_checkpoint(spec)
        trained, note = as_trained(settings, checkpoint.source.folder, checkpoint.spec.kind)
        if note:
            reporter.warn(f"{name}: {note}")
        prompt, most = open_prompt(checkpoint.spec, checkpoint.config, load_tokenizer(checkpoint), trained)
        encoded = prompt.encode(dialogue.text, most)
        prompts.append(
            ShownPrompt(
                model=name,
                prompt=prompt.name,
                text="".join(piece.text for piece in prompt.pieces(encoded)),
                ids=encoded.ids,
                control_ids=prompt.control_ids(),
                marked=prompt.describe(encoded),
                shortened=encoded.shortened,
            )
        )
    return PromptsResult(prompts=prompts)
