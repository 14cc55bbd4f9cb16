"""Turns a typed function into a command: its signature into arguments, its docstring into help."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentParser

from datamodules.errors import RegateError


class OneSentenceErrors(ArgumentParser):
    """A parser that reports a mistake in one line instead of a page of usage.

    Abbreviated options are refused: they would change meaning with the next option added.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (the parent's)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print ``message`` on one line, name the help, and exit with status 2."""
        if not self.exit_on_error:  # a parser inside a parser, whose report goes on up
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        name = parser.prog.replace(" [options]", "")
        print(f"error: {one_line(message)} (see `{name} --help`)", file=sys.stderr)
        sys.exit(2)


def one_line(message: str) -> str:
    """Keep of a report by jsonargparse what a user can act on.

    It tries the types that an argument may have in turn, "None" among them, and reports on each,
    then repeats the whole value.
    """
    kept = [
        line.removeprefix("- ")
        for line in map(str.strip, message.splitlines())
        if not line.startswith(_REPORT) and not _REPEATED_CONFIG.match(line)
    ]
    return " ".join(kept)


_REPORT = (
    "Does not validate against any of",
    "Subtypes:",
    "Errors:",
    "- Expected a <class 'NoneType'>",
    "Given value type:",
)
_REPEATED_CONFIG = re.compile(r"Given value: (\{|NestedArg|Namespace)")


def run_function(function: Callable[..., object], prog: str, args: list[str]) -> None:
    """Parse ``args`` by the signature of ``function`` and call it.

    Parameters before a ``*`` in the signature are positional on the command line, those after it
    are options. Every option can also stand in a YAML file given by ``--config``; the command
    line wins over the file. A parameter whose type is a class takes ``class_path`` and
    ``init_args``, and ``--data.root x`` is short for ``--data.init_args.root x``. A list or tuple
    of numbers or names can be written ``0.1,0.2`` or ``0.1``, also inside of a dataclass, and
    ``--max-frames`` for ``--max_frames``.

    Args:
        function: Every parameter annotated and described in a Google docstring.
        prog: How the user calls it, for the help.
        args: Words of the command line.

    Raises:
        SystemExit: With status 2 if ``args`` do not fit the signature.
    """
    parser = function_parser(function, prog)
    words = with_underscores(args)
    config = parser.parse_args(configs_first(with_lists_in_brackets(function, words)))
    values = parser.instantiate_classes(config)
    values.pop("config")
    function(**values.as_dict())


def function_parser(function: Callable[..., object], prog: str) -> ArgumentParser:
    """The parser behind ``run_function``, for whoever only wants to check a config."""
    description = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0]
    parser = OneSentenceErrors(prog=prog, description=description)
    parser.add_argument(
        "--config", action=ActionConfigFile, help="YAML file with any of the options below."
    )
    parameters = inspect.signature(function).parameters.values()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    positional = {p.name for p in parameters} - options
    for skip, as_positional in ((options, True), (positional, False)):
        parser.add_function_arguments(
            function, as_group=False, as_positional=as_positional, skip=set(skip), sub_configs=True
        )
    return parser


def with_underscores(words: list[str]) -> list[str]:
    """Write ``--max-frames=5`` as ``--max_frames=5``, the name by which the parser knows it."""
    changed = []
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = f"--{name[2:].replace('-', '_')}"
        changed.append(f"{name}{equals}{value}")
    return changed


def configs_first(words: list[str]) -> list[str]:
    """Move ``--config FILE`` to the front.

    jsonargparse applies words in their order: ``--data.root x --config c.yaml`` would let the file
    win, or find no class that ``root`` could belong to.

    Raises:
        RegateError: If a config is not UTF-8.
    """
    configs, others = [], []
    remaining = iter(words)
    for word in remaining:
        if word in {"--config", "-c"}:
            configs += [word, *islice(remaining, 1)]
        elif word.startswith("--config="):
            configs.append(word)
        else:
            others.append(word)
    for word in configs:
        _check_text(Path(word.removeprefix("--config=")))
    return configs + others


def _check_text(config: Path) -> None:
    """Refuse a file that jsonargparse would fail to read; what else is no config it tells."""
    try:
        if config.is_file():
            config.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RegateError(f"{config} is not UTF-8 ({error.reason}); save it as UTF-8") from error


def with_lists_in_brackets(
    function: Callable[..., object], args: list[str], prefix: str = "--"
) -> list[str]:
    """Write ``--budgets 0.1,0.2`` as ``--budgets=[0.1,0.2]``, which is what jsonargparse reads.

    Args:
        function: Its parameters that are lists or tuples of numbers or words are concerned, also
            where None is allowed beside them, and likewise the fields of a dataclass.
        args: Words of the command line.
        prefix: What its options begin with.
    """
    names = set(_list_options(function, prefix))
    words = iter(args)
    changed = []
    for word in words:
        name, equals, value = word.partition("=")
        if name in names:
            if not equals:
                value = next(words, "")
            bracketed = value.startswith("[") or value in {"", "null"}
            word = f"{name}={value if bracketed else f'[{value}]'}"
        changed.append(word)
    return changed


def _list_options(function: Callable[..., object], prefix: str) -> Iterator[str]:
    for name, hint in get_type_hints(function).items():
        if name == "return":
            continue
        if is_dataclass(hint) and isinstance(hint, type):
            yield from _list_options(hint, f"{prefix}{name}.")
        elif _is_list(hint):
            yield f"{prefix}{name}"


def _is_list(hint: Any) -> bool:  # noqa: ANN401  (annotations have no common type)
    if get_origin(hint) in {list, tuple}:
        return get_args(hint)[0] in {float, int, str}
    return any(_is_list(option) for option in get_args(hint))
