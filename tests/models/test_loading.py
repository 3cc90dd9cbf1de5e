"""Where models come from and what goes wrong on the way: each failure is caused, and is one line with its remedy."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from loopback_hub import loopback_hub
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import make_model
from transformers import AutoConfig, LlamaConfig, MllamaConfig, MllamaForConditionalGeneration, T5Config, ViTConfig

from dialsum_cli.engines.vllm import VllmSummarizer
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.models import sources
from dialsum_cli.models.loading import explain, load, load_tokenizer, open_checkpoint
from dialsum_cli.models.planning import choose_precision, computed_in, half, peak_bytes, skeleton, weight_bytes
from dialsum_cli.models.preflight import preflight
from dialsum_cli.models.sources import find
from dialsum_cli.registry import resolve
from dialsum_cli.settings import PredictSettings

QUICK = ("--limit", 2, "--max-new-tokens", 4, "--no-baselines", "--json")
SETTINGS = PredictSettings()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two models of the same shape and different weights."""
    return [make_model(tmp_path_factory.mktemp("models") / str(seed), "llama", seed=seed) for seed in (0, 1)]


@pytest.fixture
def hub():
    with loopback_hub() as hub:
        yield hub


def board(done) -> dict[str, dict]:
    return {row["model"]: row for row in json.loads(done.stdout)["leaderboard"]}


def config(**values) -> bytes:
    return json.dumps(values).encode()


@pytest.mark.slow
def test_every_failure_of_the_hub_is_a_row_and_the_rest_goes_on(hub, folders, dialsum, tmp_path):
    model = folders[0]
    weights = (model / "model.safetensors").read_bytes()
    hub.add("good/model").push_folder(model)
    hub.add("gated/model", file_error=(401, "GatedRepo")).push_folder(model)
    hub.add("gated/token", file_error=(403, "GatedRepo")).push_folder(model)
    hub.add("forbidden/model", api_error=(403, "")).push_folder(model)
    hub.add("unsafe/model").push({"config.json": (model / "config.json").read_bytes(), "pytorch_model.bin": weights})
    hub.add("unknown/model").push_folder(model, config=config(model_type="brandnew"))
    remote = {"AutoConfig": "configuration_new.NewConfig", "AutoModelForCausalLM": "modeling_new.New"}
    hub.add("remote/model").push_folder(model, config=config(model_type="brandnew", auto_map=remote))
    hub.add("reads/only").push_folder(model, config=config(**ViTConfig().to_dict()))
    hub.add("cut/model").push_folder(model, model=weights[: len(weights) // 2])
    hub.add("broken/model", breaks="model.safetensors").push_folder(model)
    expected = {
        "gated/model": ("is gated", "accept its licence at http://127.0.0.1"),
        "gated/token": ("is gated", "hf auth login"),
        "absent/model": ("the hub has no repository 'absent/model', or it is private", "hf auth login"),
        "forbidden/model": ("the hub refuses forbidden/model", "hf auth login"),
        "unsafe/model": ("no weights as safetensors, only pytorch_model.bin", "choose a repository that has"),
        "unknown/model": ("an architecture (brandnew) that transformers", "pip install -U transformers"),
        "remote/model": ("dialsum runs no code from a model", "dialsum models"),
        "reads/only": ("writes no text", "dialsum models"),
        "cut/model": ("are not whole", "delete '"),
        "broken/model": ("the download broke off", "run the same command again"),
    }
    home = tmp_path / "hugging face"
    names = ",".join([*expected, "good/model"])
    done = dialsum("screen", "--models", names, *QUICK, env=hub.environment(home), timeout=300)
    rows = board(done)
    assert rows.pop("good/model")["status"] == "ok"
    assert set(rows) == set(expected)
    for name, (what, remedy) in expected.items():
        assert rows[name]["status"] == "failed"
        assert rows[name]["final_score"] is None
        assert what in rows[name]["error"], name
        assert remedy in rows[name]["error"].partition("(try: ")[2], name
        assert f"Warning: {name} failed: {rows[name]['error']}\n" in done.stderr
    assert "Traceback" not in done.stderr

    # The remedy for damaged weights works: a snapshot's folder alone would link the same blob again.
    (folder,) = re.findall("delete '(.+?)'", rows["cut/model"]["error"])
    assert folder == str(home / "hub" / "models--cut--model")
    shutil.rmtree(folder)
    hub.repositories["cut/model"].push_folder(model)
    done = dialsum("screen", "--models", "cut/model", *QUICK, env=hub.environment(home), timeout=300)
    assert board(done)["cut/model"]["status"] == "ok"

    hub.repositories["broken/model"].breaks = ""
    hub.asked.clear()
    done = dialsum("screen", "--models", "broken/model", *QUICK, env=hub.environment(home), timeout=300)
    assert board(done)["broken/model"]["status"] == "ok"
    transfers = {line.rpartition("/")[2] for line in hub.asked if line.startswith("GET /broken/model/resolve")}
    assert transfers == {"model.safetensors"}


@pytest.mark.slow
def test_a_model_is_one_commit_whatever_the_hub_does_meanwhile(hub, folders, dialsum, tmp_path):
    repository = hub.add("moving/model")
    second = repository.push_folder(folders[1])
    first = repository.push_folder(folders[0])
    repository.moves_to = second
    env = hub.environment(tmp_path / "home")

    def screened(models, **options):
        """The rows, and the written summaries of each."""
        result = json.loads(dialsum("screen", "--models", models, *QUICK, **options).stdout)
        files = (tmp_path / result["run_dir"] / "predictions").iterdir()
        return {row["model"]: row for row in result["leaderboard"]}, sorted(file.read_text() for file in files)

    written = [screened(str(folder))[1][0] for folder in folders]
    assert written[0] != written[1]
    rows, summaries = screened("moving/model", env=env)
    ok = rows["moving/model"]
    weights = [line for line in hub.asked if "model.safetensors" in line]
    assert weights
    assert all(ok["revision"] in line for line in weights)
    assert ok["revision"] == first
    rows, again = screened("moving/model", env=env)
    assert rows["moving/model"]["revision"] == second
    assert [*summaries, *again] == written


@pytest.mark.slow
def test_what_was_downloaded_works_without_the_hub(folders, dialsum, tmp_path):
    home = tmp_path / "home"
    with loopback_hub() as hub:
        commit = hub.add("some/model").push_folder(folders[0])
        hub.add("half/model").push_folder(folders[0])
        env = hub.environment(home)
        dialsum("screen", "--models", "some/model,half/model", *QUICK, env=env)
    # vLLM's engine says so too, before it starts what is no vLLM here.
    (tmp_path / "vllm.py").touch()
    arguments = ("screen", "--models", "some/model", *QUICK, "--engine", "vllm")
    done = dialsum(*arguments, env={**env, "PYTHONPATH": str(tmp_path)}, check=1)
    assert f"the hub can't be reached: some/model is commit {commit[:8]} from the cache" in done.stderr

    (weights,) = (home / "hub").glob("models--half--model/snapshots/*/model.safetensors")
    weights.unlink()
    for offline, said in (
        ("1", "HF_HUB_OFFLINE is set"),
        ("0", f"the hub can't be reached: some/model is commit {commit[:8]} from the cache"),
    ):
        done = dialsum(
            "screen", "--models", "some/model,half/model,other/model", *QUICK, env={**env, "HF_HUB_OFFLINE": offline}
        )
        rows = board(done)
        assert (rows["some/model"]["status"], rows["some/model"]["revision"]) == ("ok", commit)
        assert said in done.stderr
        assert "half/model has no weights as safetensors" in rows["half/model"]["error"]
        assert "other/model is not whole in the cache" in rows["other/model"]["error"]
        assert ("HF_HUB_OFFLINE is set" in rows["other/model"]["error"]) == (offline == "1")


@pytest.fixture
def small_disk(request, tmp_path):
    """A real file system of so many KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder, size = tmp_path / "small disk", f"size={request.param}k"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [900], indirect=True)
def test_a_disk_with_room_for_one_download_gets_one(hub, folders, dialsum, small_disk):
    weights = (folders[0] / "model.safetensors").stat().st_size
    assert 450 * 1024 < weights < 850 * 1024  # twice as much has no room
    hub.add("some/model").push_folder(folders[0])
    done = dialsum("screen", "--models", "some/model", *QUICK, env=hub.environment(small_disk))
    assert board(done)["some/model"]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [400], indirect=True)
def test_a_disk_without_room(hub, folders, dialsum, small_disk):
    assert (folders[0] / "model.safetensors").stat().st_size > 400 * 1024
    hub.add("told/model").push_folder(folders[0])
    hub.add("untold/model", tells_sizes=False).push_folder(folders[0])
    env = hub.environment(small_disk)
    done = dialsum("screen", "--models", "told/model,untold/model,tiny-bart", *QUICK, env=env)
    rows = board(done)
    assert rows["tiny-bart"]["status"] == "ok"
    assert re.search(r"has no room for told/model: 0\.\d MB to download, 0\.\d MB free", rows["told/model"]["error"])
    assert "has no room for untold/model: No space left on device" in rows["untold/model"]["error"]
    assert all("dialsum cache-clean" in rows[name]["error"] for name in ("told/model", "untold/model"))
    assert not [line for line in hub.asked if line.startswith("GET /told/model") and "safetensors" in line]
    assert "more to download than" in done.stderr


def damaged(folder, how):
    weights = folder / "model.safetensors"
    match how:
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "incomplete":
            tensors = load_file(weights)
            del tensors["model.layers.1.mlp.up_proj.weight"]
            save_file(tensors, weights, {"format": "pt"})
        case "no weights":
            weights.unlink()
        case "other format":
            torch.save(load_file(weights), folder / "pytorch_model.bin")
            weights.unlink()
        case "no config":
            (folder / "config.json").unlink()
        case "config is no JSON":
            (folder / "config.json").write_text("{")
        case "config without a type":
            (folder / "config.json").write_text("{}")
        case "no tokenizer":
            for file in folder.glob("tokenizer*"):
                file.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "are not whole"),
        ("incomplete", "1 of its weights are missing, such as model.layers.1.mlp.up_proj.weight"),
        ("no weights", "has no weights as safetensors"),
        ("other format", "has no weights as safetensors"),
        ("no config", "no config.json that names an architecture"),
        ("config is no JSON", "can't be loaded"),
        ("config without a type", "no config.json that names an architecture"),
        ("no tokenizer", "can't be loaded"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(folders, tmp_path, how, message):
    folder = tmp_path / "모델 1"
    shutil.copytree(folders[0], folder)
    damaged(folder, how)
    with pytest.raises(DialsumError) as raised:
        load(resolve(str(folder)), SETTINGS)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)
    assert raised.value.remedy


def test_a_driver_that_cannot_hold_memory_in_one_piece_is_told_to_hold_it_otherwise():
    spec, error = resolve("tiny-llama"), RuntimeError("CUDA driver error: operation not supported")
    told = explain(spec, find(spec.source), error)
    assert str(told) == "the GPU's driver failed to hold tiny-llama: CUDA driver error: operation not supported"
    assert "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:False" in (told.remedy or "")


def test_whoever_names_a_folder_of_runs_is_told_to_name_a_run(folders, tmp_path):
    for run in ("20260101-120000", "20260102-120000"):
        shutil.copytree(folders[0], tmp_path / "tiny" / run / "model")
    with pytest.raises(RequestError) as raised:
        load(resolve(str(tmp_path / "tiny")), SETTINGS)
    assert raised.value.remedy == f"it holds runs: name one of them, as '{tmp_path}/tiny/20260102-120000'"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_that_peft_saved_alone_is_read_with_its_bases_tokenizer(folders, tmp_path):
    base = load(resolve(str(folders[0])), SETTINGS)
    adapted = get_peft_model(base.model, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(tmp_path / "adapter")
    names = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert not any(name.startswith("tokenizer") for name in names)
    checkpoint = open_checkpoint(resolve(str(tmp_path / "adapter")))
    loaded = load(checkpoint.spec, SETTINGS)
    assert loaded.tokenizer.get_vocab() == base.tokenizer.get_vocab()
    assert loaded.tokenizer.chat_template == base.tokenizer.chat_template
    assert VllmSummarizer(checkpoint, "fp32", SETTINGS).template == base.tokenizer.chat_template
    changed = base.tokenizer.chat_template + " "
    base.tokenizer.chat_template = changed
    base.tokenizer.save_pretrained(tmp_path / "adapter")  # its own, where it has one
    assert load_tokenizer(open_checkpoint(checkpoint.spec)).chat_template == changed


def test_a_deviation_says_where_files_come_from_once():
    checkpoint = open_checkpoint(resolve("tiny-llama"))
    assert (checkpoint.deviation(""), checkpoint.deviation("in 4 bits")) == ("", "in 4 bits")
    base, adapter = (replace(checkpoint.base, name=name, note=f"{name} is cached") for name in ("base", "adapter"))
    assert replace(checkpoint, base=base).deviation("in 4 bits") == "in 4 bits; base is cached"
    assert replace(checkpoint, base=base, adapter=adapter).deviation("") == "adapter is cached; base is cached"


def test_a_vision_language_model_is_loaded_as_text_only(folders, tmp_path):
    folder = tmp_path / "mllama"
    shutil.copytree(folders[0], folder)
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1,
              "attention_heads": 2, "image_size": 28, "patch_size": 14, "intermediate_layers_indices": [0],
              "vision_output_dim": 64, "supported_aspect_ratios": [[1, 1]]}  # fmt: skip
    text = {"vocab_size": 600, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "cross_attention_layers": [1], "pad_token_id": 2,
            "bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}  # fmt: skip
    torch.manual_seed(0)
    whole = MllamaForConditionalGeneration(MllamaConfig(vision_config=vision, text_config=text)).eval()
    whole.save_pretrained(folder)
    loaded = load(resolve(str(folder)), SETTINGS)
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        assert torch.equal(loaded.model(ids).logits, whole(ids).logits)
    assert loaded.layers == 4
    assert loaded.parameters < whole.num_parameters()
    assert loaded.parameters == skeleton(AutoConfig.from_pretrained(folder)).num_parameters()


def test_the_same_weights_have_the_same_identity_wherever_they_are(folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folders[0], copy)
    first, second = (find(str(folder)).identity() for folder in folders)
    assert find(str(copy)).identity() == first != second
    for name in ("config.json", "tokenizer.json", "model.safetensors", "generation_config.json"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + b" ")  # the same size, and the same second
        assert find(str(copy)).identity() != first
        (copy / name).write_bytes(content)
        assert find(str(copy)).identity() == first


def test_a_file_is_read_again_only_when_it_has_changed(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copy = tmp_path / "copy"
    shutil.copytree(folders[0], copy)
    newest = max(path.stat().st_ctime_ns for path in copy.iterdir())
    monkeypatch.setattr(sources, "time_ns", lambda: newest + 10**9)
    expected = find(str(copy)).identity()
    cached = lambda: [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("*.json")]  # noqa: E731
    assert cached() == []  # too young: their time stamps would not tell the next change
    weights = copy / "model.safetensors"
    monkeypatch.setattr(sources, "time_ns", lambda: newest + 3 * 10**9)
    assert find(str(copy)).identity() == expected
    (notes,) = cached()
    assert set(notes) == {path.name for path in copy.iterdir()}
    (path,) = (tmp_path / "cache").rglob("*.json")
    notes[weights.name][-1] = "remembered"
    path.write_text(json.dumps(notes))
    remembered = find(str(copy)).identity()
    assert remembered != expected  # what is remembered is believed
    stamp = weights.stat()
    weights.write_bytes(weights.read_bytes())
    os.utime(weights, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a copy that keeps its time stamp
    assert find(str(copy)).identity() == expected
    path.write_text("{")
    assert find(str(copy)).identity() == expected


NAMES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
         "tie_word_embeddings")  # fmt: skip
SHAPES = {
    "llama-3b": ((3072, 8192, 28, 24, 128256, True), 3.21),
    "llama-8b": ((4096, 14336, 32, 32, 128256, False), 8.03),
    "solar": ((4096, 14336, 48, 32, 32000, False), 10.73),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_large_model_needs_is_known_without_its_weights(shape):
    values, billions = SHAPES[shape]
    config = LlamaConfig(**dict(zip(NAMES, values, strict=True)), num_key_value_heads=8)
    assert skeleton(config).num_parameters() / 1e9 == pytest.approx(billions, abs=0.01)
    assert weight_bytes(config, "bf16") == 2 * skeleton(config).num_parameters()
    embedding = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    assert weight_bytes(config, "nf4") == pytest.approx(
        2 * embedding + (billions * 1e9 - embedding) * 4.127 / 8, rel=0.01
    )
    cache = 16384 * 2 * config.num_hidden_layers * 8 * 128 * 2
    assert weight_bytes(config, "bf16") + cache < peak_bytes(config, "bf16", 16384)
    assert peak_bytes(config, "bf16", 16384) < 1.4 * (weight_bytes(config, "bf16") + cache)


@pytest.mark.parametrize("family", ["llama", "qwen", "gpt2", "bart", "t5"])
def test_preflight_tells_what_loading_then_shows(tmp_path, family):
    folder = make_model(tmp_path / family, family)
    spec, row = preflight(resolve(str(folder)), SETTINGS)
    loaded = load(spec, SETTINGS)
    assert (row.parameters, row.layers, row.precision) == (loaded.parameters, loaded.layers, loaded.precision)
    held = sum(weight.numel() * weight.element_size() for weight in loaded.model.parameters())
    assert weight_bytes(loaded.model.config, row.precision) == held
    assert row.memory_bytes > held
    assert (row.download_bytes, row.note) == (0, "")


def test_nf4_takes_the_bytes_that_were_foretold(folders):
    settings = PredictSettings(precision="nf4")
    loaded = load(resolve(str(folders[0])), settings)
    assert loaded.precision == "nf4"
    assert loaded.model.config.quantization_config.bnb_4bit_use_double_quant
    held = sum(weight.numel() * weight.element_size() for weight in loaded.model.parameters())
    foretold = weight_bytes(open_checkpoint(resolve(str(folders[0]))).config, "nf4")
    assert held == pytest.approx(foretold, rel=0.02)  # the scales are no parameters


@pytest.mark.parametrize(
    ("family", "precision", "chosen"),
    [("llama", "auto", "fp32"), ("llama", "bf16", "bf16"), ("t5", "auto", "fp32"), ("t5", "fp16", DialsumError)],
)
def test_the_precision_on_a_machine_without_a_gpu(tmp_path, family, precision, chosen):
    if torch.cuda.is_available():
        pytest.skip("is about machines without a GPU")
    checkpoint = open_checkpoint(resolve(str(make_model(tmp_path / "model", family))))
    settings = PredictSettings(precision=precision)
    if chosen is DialsumError:
        with pytest.raises(DialsumError, match="T5 overflows in fp16"):
            choose_precision(checkpoint.spec, checkpoint.config, settings)
        return
    assert choose_precision(checkpoint.spec, checkpoint.config, settings) == (chosen, "")


@pytest.fixture
def gpu(request, monkeypatch):
    """A GPU of this compute capability, as far as torch tells of it; nothing can run on it."""
    properties = SimpleNamespace(major=request.param, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**34, 2**34))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", partial(emulating, properties))


def emulating(properties, including_emulation=True):
    """torch's answer: GPUs before Ampere compute bf16 by converting to and fro."""
    return properties.major >= 8 or including_emulation


@pytest.mark.parametrize(
    ("gpu", "expected", "half_of_it"), [(7, "fp16", torch.float16), (8, "bf16", torch.bfloat16)], indirect=["gpu"]
)
def test_an_emulated_bf16_is_not_chosen(gpu, expected, half_of_it):
    assert half() == expected
    assert computed_in("nf4") == half_of_it
    assert computed_in("bf16") == torch.bfloat16  # as asked
    assert choose_precision(resolve("llama3b"), LlamaConfig(), SETTINGS)[0] == expected


@pytest.mark.parametrize("gpu", [7], indirect=True)
def test_t5_is_not_computed_in_fp16_behind_4_bits(gpu):
    with pytest.raises(DialsumError, match="T5 overflows in fp16"):
        choose_precision(resolve("kot5"), T5Config(), PredictSettings(precision="nf4"))
    assert choose_precision(resolve("kot5"), T5Config(), SETTINGS)[0] == "fp32"


def test_a_deviation_says_which_and_why():
    if torch.cuda.is_available():
        pytest.skip("is about machines without a GPU")
    precision, why = choose_precision(resolve("llama3b"), LlamaConfig(), SETTINGS)
    assert (precision, why) == ("fp32", "bf16 weights are held in fp32: no GPU here")
