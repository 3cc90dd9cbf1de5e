"""`--show-batch` of `dialsum finetune`: what the models would be trained on, token by token."""

from dialsum_cli import registry
from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import BatchesResult, ShownBatch, ShownRow
from dialsum_cli.settings import FinetuneSettings


def show_batch(settings: FinetuneSettings, reporter: Reporter = QUIET) -> BatchesResult:
    """The first batch that each model would be given; only tokenizers are loaded, no weights.

    Raises:
        RequestError: no such prompt or model; the data can't be read.
        DataError: an example has no token to train on, or its answer doesn't fit.
    """
    from dialsum_cli.engines.huggingface import open_prompt
    from dialsum_cli.models.loading import load_tokenizer, open_checkpoint
    from dialsum_cli.training.batches import IGNORED, StepSampler, collate, make_examples, micro_batches
    from dialsum_cli.training.methods import choose, own_tokens

    columns = columns_by_file((settings.train, settings.dev), settings.columns, reporter.note)
    train = read_dialogues(settings.train, columns=columns[settings.train], references=True, note=reporter.note)
    batches = []
    for name in settings.models:
        checkpoint = open_checkpoint(registry.resolve(name))
        recipe = choose(checkpoint.spec, checkpoint.config, settings).recipe
        tokenizer, seq2seq = load_tokenizer(checkpoint), checkpoint.spec.kind == "seq2seq"
        if seq2seq:
            tokenizer = own_tokens(tokenizer, train)[0]
        prompt, most = open_prompt(checkpoint.spec, checkpoint.config, tokenizer, settings)
        examples = make_examples(train, prompt, most, settings.max_new_tokens).items
        step = next(iter(StepSampler([example.width for example in examples], recipe.batch_size, settings.seed)))
        batch = micro_batches([examples[row] for row in step], settings.micro_batch_tokens)[0]
        tensors = collate(batch, int(tokenizer.pad_token_id), seq2seq=seq2seq)
        rows = []
        for example, ids, labels in zip(batch, tensors["input_ids"].tolist(), tensors["labels"].tolist(), strict=True):
            trained = [label for label in labels if label != IGNORED]
            given = example.prompt_ids
            padding = len(ids) - len(given) - (0 if seq2seq else len(trained))
            rows.append(
                ShownRow(
                    fname=example.fname,
                    given=str(tokenizer.decode(given, skip_special_tokens=False)),
                    trained=str(tokenizer.decode(trained, skip_special_tokens=False)),
                    padding=padding,
                    input_ids=ids,
                    labels=labels,
                )
            )
        batches.append(ShownBatch(model=name, rows=rows))
    return BatchesResult(batches=batches)
