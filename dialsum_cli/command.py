"""A workflow as a Typer command: options from its settings, output from its result, exit code from its errors."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from inspect import Parameter, Signature, getdoc
from io import TextIOWrapper
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.markup import escape
from typer.core import TyperGroup

from dialsum_cli import console, processes
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import Result
from dialsum_cli.settings import BUNDLED, ENV_PREFIX, Settings, is_positional, owner_of

Workflow = Callable[[Any, Reporter], Result]
INTERRUPTED = 130
NEGATION = "negated_"  # with which no field of ours begins


def flag(name: str, short_help: str) -> Parameter:
    """A switch that belongs to the presentation, not to the settings."""
    info = typer.Option(f"--{name.replace('_', '-')}", help=short_help, rich_help_panel="Output", metavar="")
    return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, info])


PRESENTATION = [
    flag("json", "Print one JSON document on standard output."),
    flag("debug", "Show the traceback of an error."),
]


class Commands(TyperGroup):
    """The group of commands; each command's options are built when it is asked for, and not before."""

    registered: dict[str, tuple[type[Settings], Workflow]] = {}  # noqa: RUF012 - one application, one table
    switches: dict[str, dict[str, Workflow]] = {}  # noqa: RUF012 - by command
    launched: set[Workflow] = set()  # noqa: RUF012 - those that several processes can run together

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of their registration."""
        return list(self.registered)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is meant; an unknown one gets a suggestion, for which Typer wants the names."""
        self.commands = dict.fromkeys(self.registered)  # type: ignore[assignment]
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        if cmd_name not in self.registered:
            return None
        only = typer.Typer(add_completion=False, rich_markup_mode="rich")
        settings_class, run = self.registered[cmd_name]
        only.command(cmd_name, help=getdoc(run))(_invocation(settings_class, run, self.switches[cmd_name]))
        return typer.main.get_command(only)


def command(
    settings_class: type[Settings], *, launch: bool = False, **switches: Workflow
) -> Callable[[Workflow], Workflow]:
    """Register a function of settings and reporter as a command; the fields of its settings are its options.

    Each switch is a flag with which another function of the same settings is run instead. `launch` says that the
    processes of an `accelerate launch` run the command together; any other is refused there.
    """

    def register(run: Workflow) -> Workflow:
        name = run.__name__.replace("_", "-")
        Commands.registered[name], Commands.switches[name] = (settings_class, run), switches
        if launch:
            Commands.launched.add(run)
        return run

    return register


def run_program(app: typer.Typer) -> int:
    """Run the application with the arguments of this process; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that can't show Hangul gets marks in its place, no traceback
            stream.reconfigure(errors="replace")
    if processes.count() > 1:
        _take_place()
    try:
        code = app(prog_name="dialsum", standalone_mode=False)
    except typer.TyperException as error:  # an option or command that isn't there, or a value of the wrong type
        if message := " ".join(error.format_message().split()):  # without one, the help has been shown instead
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "dialsum"
            console.fail(RequestError(message, f"`{path} --help`"))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        console.interrupted()
        return INTERRUPTED
    except SystemExit as leaving:
        if not isinstance(leaving.code, str):
            raise
        console.fail(DialsumError(leaving.code, "run the same command again: it goes on from what is kept"))
        return 1
    except OSError as error:  # the help, or the version, could not be printed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - spares the interpreter's own flush
        if not isinstance(error, BrokenPipeError):
            console.fail(DialsumError(str(error), "check where standard output goes"))
        return 1
    if code != INTERRUPTED:  # the others end as well, and can't be waited for
        processes.leave()
    return code if isinstance(code, int) else 0


def _take_place() -> None:
    """Keep a launch's processes from saying everything several times: results once, what goes wrong once a host."""
    if processes.is_first():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # the launcher's word when another process is gone
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up, and where it waits Python hears no signals
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    console.stderr.quiet = not processes.is_first_here()


def _invocation(settings_class: type[Settings], run: Workflow, switches: dict[str, Workflow]) -> Callable[..., None]:
    def invoke(*, json: bool, debug: bool, **given: Any) -> None:
        chosen = {name: other for name, other in switches.items() if given.pop(name)}
        if len(chosen) > 1:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in chosen)
            console.fail(RequestError(f"{flags} ask for different things", "give one of them"))
            raise typer.Exit(RequestError.exit_code)
        other = next(iter(chosen.values()), run)
        raise typer.Exit(execute(settings_class, other, given, as_json=json, debug=debug))

    families = settings_class.__mro__  # a command's own options come first, those that it shares after them
    fields = sorted(
        settings_class.model_fields.items(), key=lambda item: families.index(owner_of(settings_class, item[0]))
    )
    options = [_option(settings_class, *item) for item in fields]
    options += [_negation(name) for name, field in fields if _typer_type(field.annotation) is bool]
    others = [flag(name, getdoc(other) or "") for name, other in switches.items()]
    invoke.__signature__ = Signature([*options, *others, *PRESENTATION])  # type: ignore[attr-defined]
    return invoke


def execute(settings_class: type[Settings], run: Workflow, given: dict[str, Any], *, as_json: bool, debug: bool) -> int:
    """Run a command and show what comes of it; returns the exit code."""
    settings: Settings | None = None
    try:
        settings = parse(settings_class, given)
        if processes.count() > 1 and run not in Commands.launched:
            raise RequestError(
                f"`dialsum {settings.command()}` is work for one process, and this launch has {processes.count()}",
                "type it without accelerate launch",
            )
        reporter = console.TerminalReporter() if processes.is_first() else QUIET
        result = run(settings, reporter)
        if own := [name for name in settings.read if _is_bundled(settings, name)]:
            reporter.note(f"no --{' and no --'.join(own)}: dialogues that dialsum brings for trying things, not yours")
        if processes.is_first():
            console.show(result, as_json=as_json)
    except DialsumError as error:
        if debug:
            console.stderr.print(traceback.format_exc(), markup=False, highlight=False)
        console.fail(error)
        return error.exit_code
    except KeyboardInterrupt:
        goes_on = getattr(settings, "resume", True)
        console.interrupted(getattr(settings, "output_dir", None) if goes_on else None)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone: nothing is left to say
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - spares the interpreter's own flush
        return 1
    except OSError as error:  # the machine's own no, such as a full disk behind `> file`: no bug, no traceback
        if debug:
            console.stderr.print(traceback.format_exc(), markup=False, highlight=False)
        console.fail(DialsumError(str(error), "check the path, its permissions and the disk"))
        return 1
    return 1 if result.failed else 0


def _is_bundled(settings: Settings, name: str) -> bool:
    """Whether an option that nobody has given stands for a bundled file."""
    return str(getattr(settings, name, "")).startswith(str(BUNDLED)) and name not in settings.model_fields_set


def parse(settings_class: type[Settings], given: dict[str, Any]) -> Settings:
    """The settings from flags that were given, the environment and the YAML file.

    Raises:
        RequestError: names each value that is not allowed, and where it came from.
    """
    flags = {name: value for name, value in given.items() if value not in (None, [], ())}
    for negation in [name for name in flags if name.startswith(NEGATION)]:
        name = negation.removeprefix(NEGATION)
        if name in flags:
            flag = name.replace("_", "-")
            raise RequestError(f"--{flag} and --no-{flag} contradict each other", "give one of them")
        flags[name] = not flags.pop(negation)
    try:
        return settings_class(**flags)
    except ValidationError as error:
        problems = [_problem(problem, flags, settings_class) for problem in error.errors()]
    raise RequestError("; ".join(problems), f"`dialsum {settings_class.command()} --help` lists what is allowed")


def _problem(problem: Any, flags: dict[str, Any], settings_class: type[Settings]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else ""
    message = problem["msg"].removeprefix("Value error, ")
    variable = f"{ENV_PREFIX}{name.upper()}"
    field = settings_class.model_fields.get(name)
    if field is not None and is_positional(field):
        source = name.upper()
    elif name in flags or problem["type"] == "missing":
        source = f"--{name.replace('_', '-')}"
    else:
        source = variable if variable in map(str.upper, os.environ) else f"key '{name}' of the --config file"
    return f"{source}: {message}" if name else message


def _option(settings_class: type[Settings], name: str, field: FieldInfo) -> Parameter:
    """An option that stays None unless given, so that an absent flag never outranks the environment or the YAML."""
    annotation = _typer_type(field.annotation)
    text = escape(field.description or "")
    info: Any
    if is_positional(field):
        info = typer.Argument(help=text, show_default=False)
        annotation = annotation if field.is_required() else annotation | None
        default = Parameter.empty if field.is_required() else None
        return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info])
    if annotation is bool and field.default is not False:
        text += f" [dim]--no-{name.replace('_', '-')} turns it off.[/dim]"
    if shown := _shown_default(field.default):
        text += f" [dim]\\[default: {shown}][/dim]"
    names = [f"--{name.replace('_', '-')}"] if annotation is bool else []  # its negation would get a column of its own
    info = typer.Option(
        *names,
        metavar="" if annotation is bool else None,
        help=text,
        show_default=False,
        rich_help_panel=owner_of(settings_class, name).__name__.removesuffix("Settings") or "General",
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, info])


def _negation(name: str) -> Parameter:
    """The flag that turns a switch off; the switch's own help tells of it."""
    info = typer.Option(f"--no-{name.replace('_', '-')}", hidden=True)
    return Parameter(NEGATION + name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[bool | None, info])


def _shown_default(default: object) -> str:
    if default is None or default in ([], {}):
        return ""
    if isinstance(default, bool):
        return "on" if default else ""
    if isinstance(default, str) and os.sep in default and Path(default).is_file():
        return f"bundled {Path(default).name}"
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)


def _typer_type(annotation: Any) -> Any:
    """The type that Typer parses: pydantic does the rest."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _typer_type(next(member for member in get_args(annotation) if member is not type(None)))
    if origin is Annotated:
        return _typer_type(get_args(annotation)[0])
    if origin is list:
        return list[_typer_type(get_args(annotation)[0])]  # type: ignore[misc]
    if origin is dict:
        return list[str]  # pairs, in one flag or in several
    if origin is Literal or annotation in (bool, int, float, str, Path):
        return annotation
    raise TypeError(f"no option can hold {annotation}")
