"""Writes docs/errors.md from the code: every error that dialsum raises on purpose, with its remedy."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

from dialsum_cli import errors

PAGE = Path(__file__).with_name("errors.md")
PACKAGE = Path(errors.__file__).parent
INTRODUCTION = """# Every error

Written by `python docs/make_errors.py` from the code itself; a test holds the two equal, and each line to the rules of
the house. `…` is what is only known when it happens. Errors with the same remedy stand together; where an error has
several remedies, what is wrong decides. [Troubleshooting](troubleshooting.md) takes the common ones at more length."""
OPEN = "…"
REFUSED = "ValueError"  # of a setting: `command` tells of all refused values in one error, with this remedy
HELP = "`dialsum … --help` lists what is allowed"
CODES = {name: kind.exit_code for name, kind in vars(errors).items() if hasattr(kind, "exit_code")} | {REFUSED: 2}
# Functions that make an error of what they are given: its kind, what they put before it, and their own remedy.
HELPERS = {
    "record.fault": ("DataError", "'…' line … (…): ", None),
    "self.fault": ("DataError", "'…' line … (…): ", None),
    "_fault": ("DataError", "'…' line …: ", None),
    "_unusable": ("DialsumError", "the chat template of … ", "choose another model"),
}


@dataclass(frozen=True)
class Raised:
    """One place where an error is made: all that its message and its remedy may be."""

    module: str
    kind: str
    messages: tuple[str, ...]
    remedies: tuple[str, ...]


@dataclass(frozen=True)
class Scope:
    """Where an expression stands: the functions and so on in which its names are looked up, innermost first."""

    around: tuple[ast.AST, ...] = ()

    def within(self, node: ast.AST) -> "Scope":
        """The scope of what is inside a node."""
        holds_names = isinstance(node, ast.Module | ast.FunctionDef | ast.ExceptHandler)
        return Scope((node, *self.around)) if holds_names else self

    def texts(self, node: ast.AST) -> tuple[str, ...]:
        """Every text that an expression may be."""
        match node:
            case ast.Constant(value=str(text)):
                return (text,)
            case ast.JoinedStr():
                return tuple("".join(parts) for parts in product(*map(self.texts, node.values)))
            case ast.BinOp(op=ast.Add()):
                return tuple("".join(parts) for parts in product(self.texts(node.left), self.texts(node.right)))
            case ast.FormattedValue():
                return self.texts(node.value)
            case ast.IfExp():
                return self.texts(node.body) + self.texts(node.orelse)
            case ast.Name():
                texts = [text for value in self.values(node.id) for text in self.texts(value)]
                return tuple(dict.fromkeys(texts)) or (OPEN,)
        return (OPEN,)

    def values(self, name: str) -> list[ast.expr]:
        """What a name is given in the nearest scope that gives it anything, but for what is made of itself."""
        return next((found for place in self.around if (found := list(_assigned(place, name)))), [])


def _assigned(place: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in place.body if isinstance(place, ast.Module) else ast.walk(place):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = [(target, node.value)]
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = list(zip(target.elts, node.value.elts, strict=True))
                given = (value for each, value in pairs if isinstance(each, ast.Name) and each.id == name)
                yield from (
                    value for value in given if name not in (getattr(part, "id", "") for part in ast.walk(value))
                )


def _calls(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.Call, Scope]]:
    if isinstance(node, ast.FunctionDef) and node.name in [name.split(".")[-1] for name in HELPERS]:
        return
    scope = scope.within(node)
    if isinstance(node, ast.Call):
        yield node, scope
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, scope)


def collected() -> list[Raised]:
    """All errors of the package, module by module, in the order of the code."""
    return [
        error
        for path in sorted(PACKAGE.rglob("*.py"))
        for call, scope in _calls(ast.parse(path.read_text(encoding="utf-8")), Scope())
        if (error := _raised(path.relative_to(PACKAGE.parent), call, scope))
    ]


def _raised(module: Path, call: ast.Call, scope: Scope) -> Raised | None:
    name = ast.unparse(call.func)
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    kind, before, remedy = HELPERS.get(name, (name, "", HELP if name == REFUSED else None))
    if kind not in CODES or (kind == REFUSED and module.parent.name != "settings"):
        return None
    if arguments and isinstance(arguments[0], ast.Starred) and isinstance(arguments[0].value, ast.Name):
        (both,) = scope.values(arguments[0].value.id)
        arguments = list(getattr(both, "elts", ()))
    count = 1 if remedy else 2
    told = [scope.texts(argument) for argument in (arguments[-count:] if name in HELPERS else arguments)]
    told[0] = tuple(before + text for text in told[0])
    told[1:] = [(remedy,)] if remedy else told[1:]
    messages, *remedies = (tuple(dict.fromkeys(re.sub(f"{OPEN}+", OPEN, text) for text in texts)) for texts in told)
    return Raised(module.as_posix(), kind, messages, *(remedies or [()]))


def _block(messages: list[str], remedies: tuple[str, ...]) -> str:
    lines = [f"Error: {message}" for message in dict.fromkeys(messages)]
    return "\n".join([*lines, *(f"  Try: {remedy}" for remedy in remedies)])


def page() -> str:
    """The whole page."""
    sections = [INTRODUCTION]
    for module, raised in groupby(collected(), key=lambda each: each.module):
        sections.append(f"## {module}")
        together: dict[tuple[int, tuple[str, ...]], list[str]] = {}
        for each in (error for error in raised if error.remedies):  # without one, it is caught before anybody sees it
            together.setdefault((CODES[each.kind], each.remedies), []).extend(each.messages)
        for code in sorted({code for code, _ in together}):
            blocks = [_block(messages, key[1]) for key, messages in together.items() if key[0] == code]
            sections.append("\n".join([f"Exit code {code}:\n", "```text", "\n\n".join(blocks), "```"]))
    return "\n\n".join(sections) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
