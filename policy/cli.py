"""The console script ``regate``: looks at the first argument and imports only what that needs."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple

from datamodules.errors import RegateError, RegateWarning
from policy.provenance import running


class Command(NamedTuple):
    """Where a command lives, and what ``regate --help`` says of it.

    Args:
        target: ``module:function``. A plain typed function, whose signature and docstring become
            the arguments and their help (``policy.arguments.run_function``).
        summary: One line.
    """

    target: str
    summary: str


TRAINER = "policy.lightning.trainer_cli:run_trainer"
"""Target of the commands that a Lightning Trainer runs; the only one called with the words."""

COMMANDS = {
    "demo": Command("policy.demo:demo", "train, compare and film on the embedded data (minutes)"),
    "fit": Command(TRAINER, "train a gate on a frozen backbone, calibrate it and write it"),
    "validate": Command(TRAINER, "measure a checkpoint on the calibration clips"),
    "test": Command(TRAINER, "measure a checkpoint on the test clips"),
    "predict": Command(TRAINER, "write the results of a checkpoint for every clip"),
    "compare": Command("policy.compare.run:compare", "compare policies at matched compute"),
    "stream": Command("policy.stream:stream", "run a gate over a video, a camera or a stream"),
    "calibrate": Command(
        "policy.budgets.recalibrate:recalibrate", "find a gate's budgets on videos of your own"
    ),
    "export": Command("policy.export:export", "write the gate file of a checkpoint"),
    "export-step": Command(
        "policy.export_step:export_step", "write a session as torch.export programs"
    ),
    "bench": Command("policy.bench.run:bench", "time reuse beside the dense model"),
    "bench-env": Command(
        "policy.rl.benchmark:bench_env", "time the reinforcement-learning environment"
    ),
}

EXAMPLES = """\
  regate demo
  regate fit --config configs/gumbel/synthetic.yaml
  regate fit --config configs/gumbel/folder.yaml --data.root my_videos/
  regate fit --run_dir runs/mine --ckpt_path last        (go on after a stop or a crash)
  regate test --ckpt_path runs/mine/checkpoints/best.ckpt
  regate stream my.mp4 --gate gate.safetensors --budget 0.25 --overlay out.mp4
  regate compare --config configs/compare/synthetic.yaml --budgets 0.1,0.25,0.5
  regate bench --model vit_base_patch16_224 --weights random --threads 2 --json bench.json"""

# Warnings of libraries about themselves, on which somebody who runs a command cannot act.
_NOISE = (
    r".*does not have many workers.*",
    r".*is smaller than the logging interval.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*Found .* module\(s\) in eval mode.*",
    r".*The dirpath has changed from.*",  # a run folder may be moved
    r".*LightningCLI's args parameter is intended.*",
)


def main(args: list[str] | None = None) -> None:
    """Run one command.

    Args:
        args: The words after ``regate``; those of the command line if None.

    Raises:
        SystemExit: With status 2 after a mistake of the user, told in one sentence.
    """
    words = sys.argv[1:] if args is None else list(args)
    with _quiet_warnings():
        try:
            _run(words)
            sys.stdout.flush()  # here, where a closed pipe can still be caught
        except BrokenPipeError:
            # Whoever read our output, such as `head`, has seen enough. Python flushes once more
            # at exit and would complain then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # what a shell reports after SIGPIPE
        except KeyboardInterrupt:
            sys.exit(130)  # what a shell reports after Ctrl-C
        except Exception as error:
            mistake = _mistake_behind(error)
            if mistake is None:
                raise
            print(f"{_process()}error: {mistake}", file=sys.stderr)
            sys.exit(2)


def help_text() -> str:
    """What ``regate --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: regate COMMAND [arguments]",
            "",
            "Learned token-reuse gates for vision transformers on video.",
            "",
            "commands:",
            *lines,
            "",
            "examples:",
            EXAMPLES,
            "",
            "`regate COMMAND --help` lists a command's arguments.",
        ]
    )


def _run(words: list[str]) -> None:
    if not words or words[0] in {"-h", "--help", "help"}:
        print(help_text())
        return
    name = words[0]
    if name not in COMMANDS:
        raise RegateError(f"unknown command {name!r}; choose one of {', '.join(COMMANDS)}")
    target = COMMANDS[name].target
    module, function = target.split(":")
    with running(words):
        call = getattr(import_module(module), function)
        if target == TRAINER:
            call(words)
            return
        from policy.arguments import run_function

        run_function(call, f"regate {name}", words[1:])


def _mistake_behind(error: BaseException) -> RegateError | None:
    # jsonargparse wraps what a constructor raises, since RegateError is a ValueError, in a
    # report on the types it tried.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, RegateError):
        cause = cause.__cause__
    return cause


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    # Read by jsonargparse when it is imported, which has not happened yet.
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    with warnings.catch_warnings():
        for message in _NOISE:
            warnings.filterwarnings("ignore", message=message)
        warnings.filterwarnings("always", category=RegateWarning)
        # The source line of a warning of ours tells a user nothing.
        warnings.formatwarning = _format_warning
        try:
            yield
        finally:
            warnings.formatwarning = _library_format


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    if issubclass(category, RegateWarning):
        return f"{_process()}warning: {message}\n"
    return _library_format(message, category, filename, lineno, line)


_library_format = warnings.formatwarning


def _process() -> str:
    # Lightning starts the other processes of a run itself and lets them share this terminal.
    rank = os.environ.get("LOCAL_RANK", "0")
    return "" if rank == "0" else f"process {rank}: "
