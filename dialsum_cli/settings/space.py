"""Search spaces: which options `dialsum tune` may change, and what it may try for each."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import NoDecode

from dialsum_cli.settings.base import PlainLoader, Settings
from dialsum_cli.settings.groups import GenerationSettings, RecipeSettings, SamplingSettings

EXAMPLE = "{num_beams: [1, 2, 4], learning_rate: {low: 1e-5, high: 1e-3, log: true}}"


def _fields(*groups: type[Settings]) -> dict[str, FieldInfo]:
    aside = {*Settings.model_fields, "batch_tokens"}
    return {name: field for group in groups for name, field in group.model_fields.items() if name not in aside}


DECODING, TRAINING = _fields(GenerationSettings, SamplingSettings), _fields(RecipeSettings)
"""The options that each stage may change, with what is allowed for them."""

MAY_BE_NULL = ("num_samples", "block_foreign")  # of the others, null says no more than leaving them out


class Range(BaseModel):
    """Numbers from `low` to `high`, both included: `step` apart, or with `log` as likely to be small as large."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False
    step: float | None = None


Entry = list[Any] | Range


def is_integer(name: str) -> bool:
    """Whether an option is a whole number."""
    return int in _kinds(name)


def _kinds(name: str) -> tuple[Any, ...]:
    """What an option may be, null aside."""
    annotation = (DECODING | TRAINING)[name].annotation
    return tuple(kind for kind in get_args(annotation) or (annotation,) if kind is not type(None))


def _parsed(value: object) -> object:
    """The text of a flag or variable as a mapping; a mapping stays what it is."""
    if isinstance(value, list) and len(value) == 1:  # the flag; twice, it would be two spaces
        value = value[0]
    try:
        value = yaml.load(value, PlainLoader) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise ValueError(f"{' '.join(str(error).split())}; write it as {EXAMPLE}") from None
    if not isinstance(value, dict):
        raise ValueError(f"write it as {EXAMPLE}")
    return value


def _checked(space: Mapping[str, Any]) -> dict[str, Entry]:
    checked: dict[str, Entry] = {}
    for name, entry in space.items():
        if name not in DECODING | TRAINING:
            near = get_close_matches(name, [*DECODING, *TRAINING], n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join((*DECODING, *TRAINING))}"
            raise ValueError(f"'{name}' is nothing to search for; {hint}")
        checked[name] = _choices(name, entry) if isinstance(entry, list) else _range(name, entry)
    return checked


def _choices(name: str, entry: list[Any]) -> list[Any]:
    values = [_value(name, each) for each in entry]
    if not values:
        raise ValueError(f"'{name}' has no value to try")
    if twice := [each for each in values if values.count(each) > 1]:
        raise ValueError(f"'{name}' has {twice[0]} twice")
    return values


def _range(name: str, entry: Any) -> Range:
    if not {int, float} & {*_kinds(name)}:
        raise ValueError(f"'{name}' is no number: list what to try, as in [a, b]")
    if not isinstance(entry, dict | Range):
        raise ValueError(f"'{name}': write [a, b], or low, high and perhaps log or step")
    try:
        made = entry if isinstance(entry, Range) else Range.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{name}.{first['loc'][0]}" if first["loc"] else name
        raise ValueError(f"'{where}': {first['msg']}; write [a, b], or low, high and perhaps log or step") from None
    low, high = _value(name, made.low), _value(name, made.high)
    if not low < high:
        raise ValueError(f"'{name}': low must be less than high")
    if made.log and (made.low <= 0 or made.step is not None):
        raise ValueError(f"'{name}': log needs a low above 0 and no step")
    step = made.step
    if step is not None and (step <= 0 or abs((high - low) / step - round((high - low) / step)) > 1e-9):
        raise ValueError(f"'{name}': no number of steps of {step} leads from {low} to {high}")
    if step is not None and is_integer(name) and step % 1:
        raise ValueError(f"'{name}' is a whole number, and so has its step to be")
    return made


def _value(name: str, value: Any) -> Any:
    """A value as the option itself takes it."""
    field = (DECODING | TRAINING)[name]
    if value is None and name not in MAY_BE_NULL:
        raise ValueError(f"'{name}': null is no value to try")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"'{name}': {value} is not allowed: {error.errors()[0]['msg']}") from None


Space = Annotated[dict[str, Any], NoDecode, BeforeValidator(_parsed), AfterValidator(_checked)]
"""Options by their names, each with a list of values or a `Range`."""
