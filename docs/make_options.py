"""Writes docs/options.md from the settings: every option of every command, as the program itself knows it."""

from dataclasses import fields
from inspect import getdoc
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from dialsum_cli.cli import app
from dialsum_cli.command import PRESENTATION, Commands
from dialsum_cli.registry import Recipe
from dialsum_cli.settings import BUNDLED, ENV_PREFIX

PAGE = Path(__file__).with_name("options.md")
INTRODUCTION = """# Every option

Written by `python docs/make_options.py` from the settings themselves; a test holds the two equal.

Each option is a flag, a key of the YAML file that `--config` names, and a variable of the environment. A flag beats a
variable, a variable beats the file, the file beats the default. Lists of names are separated by commas, lists of paths
given by repeating the flag; in the file, both are YAML lists. "recipe" is what the catalogue says of the model:
`dialsum models NAME` shows it. Every command also has {presentation}."""
HEADER = "| option | key, variable | values | default | what it does |\n|---|---|---|---|---|"
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
KINDS = {int: "integer", float: "number", str: "text", Path: "path", bool: "on, off"}
FROM_RECIPE = {field.name for field in fields(Recipe)}


def page() -> str:
    """The whole page."""
    group: Any = typer.main.get_command(app)
    presentation = " and ".join(f"`--{flag.name}`" for flag in PRESENTATION)
    sections = [section(name, group.get_command(None, name)) for name in Commands.registered]
    return "\n\n".join([INTRODUCTION.format(presentation=presentation), *sections]) + "\n"


def section(name: str, command: Any) -> str:
    """One command: what it does and its options, in the order of its help."""
    settings_class, run = Commands.registered[name]
    parameters = {parameter.name: parameter for parameter in command.params}
    rows = [
        row(parameter, settings_class.model_fields[key])
        for key, parameter in parameters.items()
        if key in settings_class.model_fields
    ]
    rows += [
        f"| `--{key.replace('_', '-')}` | – | – | off | {cell(getdoc(other) or '')} |"
        for key, other in Commands.switches[name].items()
    ]
    return "\n".join([f"## `dialsum {name}`\n", f"{getdoc(run)}\n", HEADER, *rows])


def row(parameter: Any, field: FieldInfo) -> str:
    """One option; what its text says about the default goes into the default's column."""
    text, _, told = (field.description or "").partition(" [default: ")
    key = parameter.name
    required = field.is_required()  # by position: neither a file nor a variable can give it
    names = [] if required else [f"`{key}`", f"`{ENV_PREFIX}{key.upper()}`"][field.exclude is True :]
    default = "required" if required else told.removesuffix("]") or default_of(key, field.default)
    return (
        f"| {option(parameter)} | {'<br>'.join(names) or '–'} | {values(parameter, field)} | {default} | {cell(text)} |"
    )


def option(parameter: Any) -> str:
    """The flag, with the one that turns it off; or the name of what is given by position."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}{'...' if parameter.nargs == -1 else ''}`"
    [flag] = parameter.opts
    return f"`{flag}`<br>`--no-{flag[2:]}`" if parameter.is_flag else f"`{flag}`"


def values(parameter: Any, field: FieldInfo) -> str:
    """The choices, or the type with its bounds."""
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is list:
        return "list of paths" if get_args(kind) == (Path,) else "list of names"
    marks = [(mark, bound) for mark in field.metadata for bound in BOUNDS if hasattr(mark, bound)]
    return ", ".join([KINDS[kind], *(f"{BOUNDS[bound]} {getattr(mark, bound)}" for mark, bound in marks)])


def default_of(key: str, default: object) -> str:
    """The default as a reader would write it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if default is None or default in ([], {}):
        return "recipe" if key in FROM_RECIPE else "–"
    if Path(str(default)).is_relative_to(BUNDLED):
        return f"bundled `{Path(str(default)).name}`"
    return f"`{','.join(map(str, default)) if isinstance(default, list) else default}`"


def cell(text: str) -> str:
    """Text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
