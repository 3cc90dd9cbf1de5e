"""Korean prompts as data: what a model is told, with a slot for the dialogue."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from dialsum_cli.errors import DataError, RequestError

SLOT = "{dialogue}"
DEFAULT_PROMPT = "korean"


@dataclass(frozen=True)
class Prompt:
    """What a model is told around a dialogue.

    Attributes:
        name: what results call it.
        system: the system's turn; folded into the user's where a chat template knows no system. May be empty.
        user: the user's turn, with `{dialogue}` once.
        plain: the whole text for a model without a chat template, `{dialogue}` in it once; the summary follows it.

    Raises:
        ValueError: the slot is missing, there twice, or in the system's turn.
    """

    name: str
    system: str
    user: str
    plain: str

    def __post_init__(self) -> None:
        for field, wanted in (("system", 0), ("user", 1), ("plain", 1)):
            if (count := getattr(self, field).count(SLOT)) != wanted:
                raise ValueError(f"`{field}` has the slot {SLOT} {count} times instead of {wanted}")

    def messages(self, dialogue: str, *, with_system: bool = True) -> list[dict[str, str]]:
        """The turns as chat messages with the roles `system` and `user`; without a system its text opens the user's."""
        user = self.user.replace(SLOT, dialogue)
        if not self.system:
            return [{"role": "user", "content": user}]
        if not with_system:
            return [{"role": "user", "content": f"{self.system}\n\n{user}"}]
        return [{"role": "system", "content": self.system}, {"role": "user", "content": user}]

    def to_yaml(self) -> str:
        """The text of a file that `load_prompt` reads back to an equal prompt."""
        return yaml.safe_dump(vars(self), allow_unicode=True, sort_keys=False, width=10**6)


def prompt_names() -> list[str]:
    """The names of the prompts that ship with dialsum."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))


def load_prompt(name_or_path: str | Path) -> Prompt:
    """Read a prompt by its name, or from a YAML file with the keys `user` and, if wanted, `name`, `system`, `plain`.

    A file without `plain` gets the system's and the user's text followed by `요약:`.

    Raises:
        RequestError: there is neither such a prompt nor such a file.
        DataError: the file isn't YAML, has unknown keys, or lacks the slot `{dialogue}`.
    """
    names = prompt_names()
    path = Path(__file__).with_name(f"{name_or_path}.yaml") if name_or_path in names else Path(name_or_path)
    if not path.is_file():
        nearest = get_close_matches(str(name_or_path), names, n=1)
        raise RequestError(
            f"there is no prompt named {str(name_or_path)!r}, and no such file",
            f"did you mean {nearest[0]!r}?" if nearest else f"name a YAML file, or one of: {', '.join(names)}",
        )
    return _read(path)


def _read(path: Path) -> Prompt:
    example = f"write `system:` and `user:` with the slot {SLOT} into it; `--prompt {DEFAULT_PROMPT}` is one that works"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} isn't readable as YAML: {' '.join(str(error).split())}", example) from error
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise DataError(f"{path} isn't a prompt: it has to be a mapping of keys to texts", example)
    keys = ("name", "system", "user", "plain")
    for key in content:
        if key not in keys:
            nearest = get_close_matches(str(key), keys, n=1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"a prompt has the keys {', '.join(keys)}"
            raise DataError(f"{path} has an unknown key `{key}`", hint)
    # Templates may trim what they are given; outer blanks would make the same prompt differ between models.
    name, system, user, plain = (content.get(key, "").strip() for key in keys)
    derived = f"{system}\n\n{user}\n\n요약:".lstrip()
    try:
        return Prompt(name or path.stem, system, user, plain or derived)
    except ValueError as error:
        raise DataError(f"{path}: {error}", example) from error
