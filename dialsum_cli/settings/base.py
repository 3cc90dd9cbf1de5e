"""Where options come from: a flag, a variable, a YAML file, a default."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_origin

import yaml
from pydantic import Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from dialsum_cli.errors import RequestError

ENV_PREFIX = "DIALSUM_"
# What transformers' TrainingArguments, and the nested files written for them, call an option of ours.
ELSEWHERE = {
    "per_device_train_batch_size": "batch_size",
    "early_stopping_patience": "patience",
    "generation_max_length": "max_new_tokens",
    "generate_max_length": "max_new_tokens",
}


class Positional:
    """Marks a field that is given by position on the command line."""


class Settings(BaseSettings):
    """Precedence: keyword or flag, then DIALSUM_* variable, then --config YAML, then the default below."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,
        protected_namespaces=(),
    )

    config: Annotated[Path | None, Field(exclude=True)] = None
    """YAML file whose keys are the option names."""

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        if isinstance(value, str) and "\0" in value:
            raise ValueError("it holds a NUL, which no name or path can")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources in order of precedence; mistyped variables and keys are refused here."""
        assert isinstance(init_settings, InitSettingsSource)
        _check_environment()
        path = init_settings.init_kwargs.get("config") or env_settings().get("config")
        values = _read_yaml(Path(path), cls) if path else {}
        return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values)

    @property
    def read(self) -> Sequence[str]:
        """The options whose data the command reads."""
        return [name for name in ("train", "dev", "data") if name in type(self).model_fields]

    @classmethod
    def command(cls) -> str:
        """The command whose options these are: `cache-clean` of `CacheCleanSettings`."""
        return re.sub(r"\B(?=[A-Z])", "-", cls.__name__.removesuffix("Settings")).lower()

    def to_yaml(self, comments: Mapping[str, str] | None = None) -> str:
        """The resolved settings as YAML that parses back to an equal object; with a comment behind some of them."""
        parts = []
        for name, value in self.model_dump(mode="json").items():
            part = yaml.safe_dump({name: value}, allow_unicode=True, sort_keys=False)
            comment = (comments or {}).get(name)
            parts.append(f"{part.rstrip()}  # {comment}\n" if comment else part)
        return "".join(parts)


class PlainLoader(yaml.SafeLoader):
    """YAML without two surprises: a repeated key is an error, and `yes` is a word until pydantic reads it as true."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping, if no key is there twice."""
        merge = "tag:yaml.org,2002:merge"  # `<<: *anchor`: its keys give way to those that stand here
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"the key '{repeated[0]}' is there twice")
        return super().construct_mapping(node, deep)


def _descendants(cls: type[Settings]) -> Iterator[type[Settings]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _descendants(child)


def _check_environment() -> None:
    known = {name.upper() for cls in _descendants(Settings) for name in cls.model_fields}
    for variable in os.environ:
        name = variable.upper().removeprefix(ENV_PREFIX)
        if variable.upper().startswith(ENV_PREFIX) and name not in known:
            remedy = _nearest(name, known, "unset it", prefix=ENV_PREFIX)
            raise RequestError(f"environment variable {variable} is no option", remedy)


def _read_yaml(path: Path, cls: type[Settings]) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), PlainLoader)
    except OSError as error:
        raise RequestError(f"--config: can't read '{path}': {error.strerror}", "give an existing YAML file") from None
    except RecursionError:
        raise RequestError(f"--config: '{path}' is nested too deeply", "write one `option: value` a line") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"--config: '{path}' is no YAML: {' '.join(str(error).split())}", "mend that line") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RequestError(f"--config: '{path}' holds no mapping", "write one `option: value` a line")
    allowed = [name for name in cls.model_fields if name != "config"]
    for key, value in values.items():
        if isinstance(value, dict) and not (key in allowed and get_origin(cls.model_fields[key].annotation) is dict):
            raise _nested(path, str(key), value, cls)
        if key in allowed:
            continue
        what = f"--config: '{path}' has the unknown key '{key}'"
        if others := _commands_that_know(key):
            knows = "knows" if len(others) == 1 else "know"
            raise RequestError(f"{what}: {', '.join(others)} {knows} it", "give each command a file of its own")
        raise RequestError(what, _nearest(str(key), allowed, "remove that key"))
    return values


def _nested(path: Path, key: str, below: Mapping[Any, Any], cls: type[Settings]) -> RequestError:
    """What to write instead of `training: {learning_rate: 1e-5}`."""
    known = cls.model_fields.keys() - {"config"}
    flat = dict.fromkeys(near for name in below for near in _near(str(name), sorted(known)))
    remedy = f"options are flat: `dialsum {cls.command()} --help` lists them"
    if flat:
        remedy = f"did you mean the flat key{'s' * (len(flat) > 1)} {', '.join(flat)}?"
    unknown = "" if key in known else "unknown "
    return RequestError(f"--config: '{path}' has the {unknown}key '{key}' with keys below it", remedy)


def _commands_that_know(key: str) -> list[str]:
    commands = dict.fromkeys(cls for cls in _descendants(Settings) if not cls.__subclasses__())
    return [f"`dialsum {cls.command()}`" for cls in commands if key in cls.model_fields.keys() - Settings.model_fields]


def _nearest(word: str, known: Iterable[str], otherwise: str, prefix: str = "") -> str:
    near = _near(word, known)
    return f"did you mean '{prefix}{near[0]}'?" if near else otherwise


def _near(word: str, known: Iterable[str]) -> list[str]:
    """The one of them that is most like a word, if any is."""
    other = ELSEWHERE.get(word)
    known = list(known)
    return [other] if other in known else get_close_matches(word, known, n=1, cutoff=0.6)


def owner_of(settings_class: type[Settings], name: str) -> type[Settings]:
    """The settings class that first declares an option."""
    return next(cls for cls in reversed(settings_class.__mro__) if name in getattr(cls, "model_fields", ()))


def is_positional(field: FieldInfo) -> bool:
    """Whether a field is given by position on the command line."""
    return any(isinstance(mark, Positional) for mark in field.metadata)
