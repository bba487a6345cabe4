"""Options and arguments that commands share. Those for training settings are made from the fields of ``Config``."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from ..errors import ArgumentError
from ..training import Config
from ..training.config import PANELS, no_option, option
from .output import printable

Command = TypeVar("Command", bound=Callable[..., Any])


def _parser(kind: type[Any], what: str, minimum: float = -math.inf) -> Callable[[Any], Any]:
    """Return a parser of option values. Typer's own would work, but their messages depend on Typer's version."""

    def parse(word: Any) -> Any:
        try:
            value = kind(word)
            wrong = value < minimum
        except ValueError:
            value, wrong = word, True
        if wrong:
            raise typer.BadParameter(f"is {value!r}; it must be {what}")
        return value

    return parse


integer, number = _parser(int, "an integer"), _parser(float, "a number")
_count = _parser(int, "an integer >= 1", minimum=1)


def integers(option: str, text: str, example: str) -> list[int]:
    """Parse the value of ``option``, integers separated by commas. Raises ArgumentError if it cannot be parsed."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ArgumentError(f"{option} is {text!r}; it must be integers separated by commas, e.g. {example}.") from None


def count_option(help: str, **more: Any) -> Any:
    """Return an option that takes an integer of at least 1."""
    return typer.Option(**{"metavar": "N", **more}, parser=_count, help=help)


def file_option(help: str, *names: str, **more: Any) -> Any:
    """Return an option that names a file."""
    return typer.Option(*names, metavar="FILE", help=help, **more)


def check_output(option: str, name: str | Path | None, ending: str = "") -> None:
    """Raise ArgumentError if a file with this name cannot be written. Call it before slow work; None is allowed."""
    if name is None:
        return
    path, shown = Path(name), printable(str(name))
    if path.is_dir() or not path.parent.is_dir():
        raise ArgumentError(f"{option} is {shown!r}; it must be a file in a folder that exists.")
    if not os.access(path.parent, os.W_OK):
        raise ArgumentError(f"{option} is {shown!r}; its folder is not writable; choose another one.")
    if path.suffix.lower() != ending and ending:
        raise ArgumentError(f"{option} is {shown!r}; the figure is a PNG, so its name must end in {ending}.")


DeviceOption = Annotated[str, typer.Option(metavar="cpu|cuda", help="The device that the network runs on.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a training run.")]
DataOption = Annotated[
    str | None, typer.Option(metavar="NAME_OR_FOLDER", help="Another data set or image folder with the same classes.")
]
PARSERS: dict[Any, dict[str, Any]] = {
    int: {"metavar": "N", "parser": integer},
    float: {"metavar": "X", "parser": number},
    bool: {"metavar": None},
}


def setting_options(*names: str, **changes: dict[str, Any]) -> Callable[[Command], Command]:
    """Give a command an option for each of the named settings, by default for all of them.

    The command receives their values as ``**settings``. ``changes`` maps the name of a setting to keyword arguments of
    ``typer.Option`` that override those from ``Config``. Options are sorted by help panel.
    """

    def decorate(command: Command) -> Command:
        *own, _ = parameters_of(command)
        made = [_parameter(name, **changes.get(name, {})) for name in names or [each.name for each in fields(Config)]]
        return with_parameters(command, sorted([*own, *made], key=_panel))

    return decorate


def parameters_of(command: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a command, with evaluated annotations."""
    return list(inspect.signature(command, eval_str=True).parameters.values())


def with_parameters(command: Command, parameters: Iterable[inspect.Parameter]) -> Command:
    """Make Typer see ``parameters`` as those of ``command``, which receives some of them as ``**keywords``."""
    keyword_only = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    command.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return command


def _parameter(name: str, **changes: Any) -> inspect.Parameter:
    """Return a field of ``Config`` as a parameter of a command, annotated as Typer expects."""
    field, annotation = Config.__dataclass_fields__[name], get_type_hints(Config)[name]
    kind = (*get_args(annotation), annotation)[0]  # str if the annotation is `str | None`
    keywords = {
        "metavar": field.metadata.get("metavar", "NAME"),
        "help": field.metadata["help"],
        "show_default": field.metadata.get("unset", True),
        "rich_help_panel": field.metadata["panel"],
        **PARSERS.get(kind, {}),
        **changes,
    }
    # Switches for variants of the network have no --no-... form, which would leave too little room in the help.
    has_opposite = kind is bool and not field.metadata.get("of_model")
    flag = f"{option(name)}/{no_option(name)}" if has_opposite else option(name)
    annotated = Annotated[annotation, typer.Option(flag, **keywords)]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotated)


def _panel(parameter: inspect.Parameter) -> int:
    """Return the position of a parameter's help panel, to sort by; the context, with -1, comes before all options."""
    for each in getattr(parameter.annotation, "__metadata__", ()):
        return PANELS.index(each.rich_help_panel)
    return -1


def given_settings(context: typer.Context) -> dict[str, Any]:
    """Return the settings given on the command line, including those given with their default value."""
    sources = {name: context.get_parameter_source(name) for name in Config.__dataclass_fields__}
    return {name: context.params[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


@contextmanager
def as_options(names: Iterable[str]) -> Iterator[None]:
    """Name options instead of settings in errors: ``train: batch_size is 0`` becomes ``--batch-size is 0``."""
    try:
        yield
    except ArgumentError as error:
        message = str(error)
        for name in names:
            message = message.replace(f"train: {name} is ", f"{option(name)} is ")
        raise ArgumentError(message) from error
