"""Values that options take: how they are written, and what is refused."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from dialsum_cli import registry

BUNDLED = Path(__file__).parents[1] / "data" / "bundled"
CACHES = ("hub", "leftovers", "xet", "datasets", "wandb", "inductor", "triton")
CACHES_IF_ASKED = ("hub-data", "wandb-staging", "uv", "pip", "checkpoints")
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


def _items(value: object) -> object:
    """Split comma-separated text, on its own or as items of a list, so that flag, environment and YAML agree."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    parts = [part for item in value for part in (item.split(",") if isinstance(item, str) else [item])]
    stripped = [part.strip() if isinstance(part, str) else part for part in parts]
    return [part for part in stripped if part != ""]


def _some(value: object) -> object:
    """As `_items`; text in which nothing stands is refused: a shell's variable that isn't set was to say something."""
    items = _items(value)
    if items == [] and value != []:
        raise ValueError("it is empty: name something, or leave it out")
    return items


def _listed(value: object) -> object:
    """A path on its own, as a variable or a YAML file may give it, as a list of one."""
    return [value] if isinstance(value, str | Path) else value


def _pairs(value: object) -> object:
    """`fname=id,dialogue=text` as a mapping; a mapping stays what it is."""
    if isinstance(value, list):  # the flag, given several times
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(ours and theirs for ours, _, theirs in pairs):
        raise ValueError("write it as fname=id,dialogue=text (our name=the file's name)")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    unknown = [name for name in columns if not re.fullmatch(r"fname|dialogue|topic|summary\d*", name)]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no column of ours; ours are fname, dialogue, summary, summary1.., topic")
    return columns


def _predictions_and_gold(files: list[Path]) -> list[Path]:
    if len(files) < 2:
        raise ValueError("give prediction files, then the gold file, as in `dialsum score submission.csv gold.csv`")
    return files


def _numbers(value: object) -> object:
    """`r1=1,r2=2` as a mapping; a mapping stays what it is."""
    if isinstance(value, list):  # the flag, given several times
        value = ",".join(map(str, value))
    if not isinstance(value, str):
        return value
    pairs = [part.rpartition("=") for part in value.split(",")]
    if not all(name.strip() and number.strip() for name, _, number in pairs):
        raise ValueError("write it as NAME=NUMBER,NAME=NUMBER")
    return {name.strip(): number.strip() for name, _, number in pairs}


def _rouge_weights(weights: dict[str, float]) -> dict[str, float]:
    if unknown := [name for name in weights if name not in ("r1", "r2", "rl")]:
        raise ValueError(f"'{unknown[0]}' is no ROUGE; write it as r1=1,r2=2,rl=1")
    if weights and not any(weights.values()):
        raise ValueError("one of r1, r2 and rl must be greater than 0")
    return weights


def _several(files: list[Path]) -> list[Path]:
    if len(files) < 2:
        raise ValueError("give two prediction files or more, as in `dialsum ensemble a.csv b.csv c.csv`")
    if twice := [path for path in files if files.count(path) > 1]:
        raise ValueError(f"'{twice[0]}' is there twice; --system-weights {twice[0]}=2 gives it two votes")
    return files


def _models(names: list[str]) -> list[str]:
    for name in names:
        registry.resolve(name)
    return list(dict.fromkeys(names))


def _averaged(names: list[str]) -> list[str]:
    for name in names:
        if registry.resolve(name).kind == "baseline":
            raise ValueError(f"'{name}' is a baseline and has no logits")
    if len(names) == 1:
        raise ValueError("give two models or more, separated by a comma; a single one is for --model")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"'{twice[0]}' is there twice; every model has the same weight")
    return names


def _model(name: str) -> str:
    registry.resolve(name)
    return name


def parse_bytes(text: str) -> int:
    """Bytes of a size such as 60GB or 1.5TiB; a bare number is bytes.

    Raises:
        ValueError: it is no size.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?) ?([kmgt]i?)?b?", text.strip().lower())
    if not found:
        raise ValueError(f"'{text}' is no size; write it as 60GB")
    return round(float(found[1]) * BYTES[found[2] or ""])


def parse_seconds(text: str) -> float:
    """Seconds of an age such as 30d, 12h or 8w.

    Raises:
        ValueError: it is no age.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text.strip().lower())
    if not found:
        raise ValueError(f"'{text}' is no age; write it as 30d, 12h or 8w")
    return float(found[1]) * SECONDS[found[2]]


def _size(text: str) -> str:
    parse_bytes(text)
    return text


def _age(text: str) -> str:
    parse_seconds(text)
    return text


def _caches(names: list[str]) -> list[str]:
    known = (*CACHES, *CACHES_IF_ASKED)
    for name in names:
        if name not in known:
            raise ValueError(f"'{name}' is no cache; choose from {', '.join(known)}")
    return list(dict.fromkeys(names))


def _project(name: str) -> str:
    if not name.strip() or (bad := sorted({*name} & {*"/\\#?%:"})):
        raise ValueError(f"W&B allows no {' '.join(bad)} in it" if name.strip() else "it is empty")
    return name


def _server(url: str | None) -> str | None:
    """A server's address without what it must not hold; what was given is not repeated, because it may be secret."""
    if url is None:
        return None
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as in http://127.0.0.1:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("it must hold no name, password or query: put the key into the variable OPENAI_API_KEY")
    return url.strip().rstrip("/")


Precision = Literal["auto", "bf16", "fp16", "fp32", "nf4"]
Names = Annotated[list[str], NoDecode, BeforeValidator(_items)]
SomeNames = Annotated[list[str], NoDecode, BeforeValidator(_some)]
Caches = Annotated[Names, AfterValidator(_caches)]
SomeCaches = Annotated[SomeNames, AfterValidator(_caches)]
Size = Annotated[str, AfterValidator(_size)]
Age = Annotated[str, AfterValidator(_age)]
Models = Annotated[Names, AfterValidator(_models), Field(min_length=1)]
SomeModels = Annotated[Names, AfterValidator(_models)]  # perhaps none
Model = Annotated[str, AfterValidator(_model)]
Averaged = Annotated[Names, AfterValidator(_averaged)]
Numbers = Annotated[dict[str, Annotated[float, Field(ge=0)]], NoDecode, BeforeValidator(_numbers)]
Columns = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs), AfterValidator(_known_columns)]
Paths = Annotated[list[Path], NoDecode, BeforeValidator(_listed)]
RunFolders = Annotated[Paths, Field(min_length=1), AfterValidator(lambda paths: list(dict.fromkeys(paths)))]
PredictionsAndGold = Annotated[list[Path], NoDecode, AfterValidator(_predictions_and_gold)]
SeveralFiles = Annotated[list[Path], NoDecode, AfterValidator(_several)]
RougeWeights = Annotated[Numbers, AfterValidator(_rouge_weights)]
Project = Annotated[str, AfterValidator(_project)]
Server = Annotated[str | None, AfterValidator(_server)]
