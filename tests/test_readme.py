"""The README and the other pages: commands are understood, links lead somewhere, snippets run."""

import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from policy.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {".venv", "runs", "build", "dist", "node_modules"}
PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted(ROOT.rglob("*.md"))
    if not NOT_OURS & set(path.relative_to(ROOT).parts)
    and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def text(page):
    return (ROOT / page).read_text()


def blocks(page, *languages):
    """Fenced blocks of a page in any of the languages."""
    return [body for language, body in FENCE.findall(text(page)) if language in languages]


def prose(page):
    """A page without its fenced blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", text(page)), flags=re.S)


def commands(page):
    """Command lines of ``regate`` on a page, as words; those with an ellipsis stand for many."""
    fenced = "\n".join(blocks(page, "", "console", "sh", "bash")).replace("\\\n", " ")
    inline = re.findall(r"`(regate [a-z]+ --[^`]+)`", prose(page))
    lines = re.findall(r"^(?:\.venv/bin/)?regate .+$", fenced, re.M) + inline
    words = [shlex.split(line.removeprefix(".venv/bin/"))[1:] for line in lines if "…" not in line]
    return [line for line in words if line != ["--help"]]


def anchors(page):
    """The anchors that headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in kept}


def each_command():
    return [pytest.param(line, id=" ".join(line)) for page in PAGES for line in commands(page)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like the repository's root, but for runs that a test may make up."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_pages_that_a_reader_looks_for_are_there():
    expected = {
        "README.md",
        "CONTRIBUTING.md",
        "checkpoints/README.md",
        "data/README.md",
        "docs/add_a_gate.md",
        "docs/glossary.md",
        "docs/metrics.md",
        "docs/results.md",
        "docs/tour.md",
    }
    assert expected <= set(PAGES)


def test_the_readme_shows_every_command():
    shown = {words[0] for words in commands("README.md")}
    assert shown >= {"fit", "stream", "compare", "export"}


@pytest.mark.parametrize("words", each_command())
def test_every_command_on_a_page_is_understood(words, place, capsys):
    assert words[0] in COMMANDS
    if "--ckpt_path" in words and "--run_dir" in words:  # goes on with a run that exists
        run = place / words[words.index("--run_dir") + 1]
        run.mkdir(parents=True)
        config = ROOT / "configs" / "gumbel" / "synthetic.yaml"
        (run / "config.yaml").write_text(config.read_text())

    with pytest.raises(SystemExit) as stopped:
        main([*words, "--print_config"])

    printed = capsys.readouterr()
    assert stopped.value.code == 0, printed.err
    assert printed.out


@pytest.mark.parametrize("page", PAGES)
def test_every_option_named_on_a_page_exists(page):
    named = re.findall(r"`(--[a-z][\w.]*)", prose(page))
    assert [name for name in named if name not in known_options()] == []


def known_options():
    """Options of all commands: from the signatures that the parsers are made of."""
    from importlib import import_module

    from pytorch_lightning import Trainer

    from backbones import Preprocessing
    from datamodules.camera import Camera
    from datamodules.disturbance import Flicker, Noise, Recompression
    from datamodules.folder import VideoFolder
    from datamodules.splits import SplitOptions
    from datamodules.synthetic import SyntheticClips
    from policy.cli import TRAINER
    from policy.guard import Guard
    from policy.rl.ppo import PPO
    from policy.rl.reinforce import Reinforce
    from policy.tasks.gumbel import GumbelTask
    from policy.tasks.ppo import PPOTask
    from policy.tasks.reinforce import ReinforceTask

    known = {"--config", "--help", "--print_config", "--run_dir", "--ckpt_path"}
    known |= {"--seed_everything", "--data", "--model"}
    for command in COMMANDS.values():
        if command.target != TRAINER:
            module, name = command.target.split(":")
            function = getattr(import_module(module), name)
            known |= {f"--{parameter}" for parameter in inspect.signature(function).parameters}
    nested = {
        "data": (VideoFolder, SyntheticClips),
        "data.split": (SplitOptions,),
        "data.camera": (Camera,),
        "data.disturbance": (Noise, Flicker, Recompression),
        "guard": (Guard,),
        "model": (GumbelTask, PPOTask, ReinforceTask),
        "model.ppo": (PPO,),
        "model.reinforce": (Reinforce,),
        "model.preprocessing": (Preprocessing,),
        "preprocessing": (Preprocessing,),
        "trainer": (Trainer,),
    }
    for prefix, classes in nested.items():
        for made in classes:
            known |= {f"--{prefix}.{name}" for name in inspect.signature(made).parameters}
    return known


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_on_a_page_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"^make ([a-z-]+)", "\n".join(blocks(page, "", "console")), re.M)
    named += re.findall(r"`make ([a-z-]+)`", prose(page))
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    folder = (ROOT / page).parent
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (folder / path).resolve() if path else ROOT / page
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(str(target.relative_to(ROOT))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_named_on_a_page_exists(page):
    ours = r"`((?:policy|backbones|datamodules|configs|tests|docs)/[\w./-]+)`"
    assert [name for name in re.findall(ours, prose(page)) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_python_snippet_compiles(page):
    for number, snippet in enumerate(blocks(page, "python")):
        compile(snippet, f"{page}, snippet {number}", "exec")


def test_the_readme_serves_a_gate_as_it_says(place, capsys):
    from backbones import load_backbone
    from policy import save_gate
    from policy.budgets.table import Calibration
    from policy.gates import ThresholdGate

    snippet = next(block for block in blocks("README.md", "python") if "load_gate" in block)
    assert 'weights="pretrained"' in snippet
    snippet = snippet.replace('weights="pretrained"', 'weights="random"')
    gate = ThresholdGate()
    gate.calibration = Calibration((0.1, 0.5, 0.9), (3.0, 2.0, -9.0), floor=0.03)
    save_gate("gate.safetensors", gate, load_backbone("vit_tiny_patch16_224", weights="random"))
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)

    names = {"images": list(images)}
    exec(compile(snippet, "README.md", "exec"), names)

    assert len(capsys.readouterr().out.splitlines()) == 3
    assert names["session"].budget == 0.5 and names["session"].state is None
    for field in ("features", "patches", "recompute", "macs"):
        assert getattr(names["result"], field) is not None


def test_pictures_are_small_enough_to_load_at_once():
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 300_000] == []
