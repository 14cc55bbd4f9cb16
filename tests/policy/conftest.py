"""Runs of the command line on a task of three weights, and small backbones of every family."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TINY = Path(__file__).parent / "tiny"


@pytest.fixture
def tiny(tmp_path, monkeypatch, root):
    """A folder to work in, with a fit config for a task that trains in a second."""
    monkeypatch.syspath_prepend(str(TINY))
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{TINY}")
    monkeypatch.chdir(tmp_path)
    config = {
        "model": {"class_path": "tiny_run.TinyTask", "init_args": {"target": 2.0}},
        "data": {"class_path": "tiny_run.TinyData"},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.fixture
def regate(tiny):
    """Call the command line in a process of its own, as a user does."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "policy", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tiny,
        )

    return call


FAMILIES = {
    "vit_tiny": ("vit_tiny_patch16_224", {}),
    "vit_small": ("vit_small_patch16_224", {"num_heads": 6}),
    "vit_base": ("vit_base_patch16_224", {"num_heads": 12}),
    "deit": ("deit_tiny_patch16_224", {}),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 56}),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
    "dinov2_swiglu": ("vit_giant_patch14_dinov2", {"img_size": 56}),
    "siglip": ("vit_base_patch16_siglip_224", {}),
    "siglip_average": ("vit_base_patch16_siglip_gap_224", {}),
    "clip": ("vit_base_patch16_clip_224", {}),
    "aimv2": ("aimv2_large_patch14_224", {"img_size": 56}),
    "qk_norm": ("vit_tiny_patch16_224", {"qk_norm": True}),
    "scale_norm": ("vit_tiny_patch16_224", {"scale_attn_norm": True, "scale_mlp_norm": True}),
    "gated_attention": ("vit_tiny_patch16_224", {}),
    "average_pool": ("vit_tiny_patch16_224", {"global_pool": "avg", "class_token": False}),
    "dynamic_size": ("vit_tiny_patch16_224", {"dynamic_img_size": True, "global_pool": "avgmax"}),
    "refined_pool": ("vit_tiny_patch16_224", {"global_pool": "prr"}),
    "hybrid": ("vit_tiny_r_s16_p8_224", {"img_size": 64}),
}
"""One of each kind of covered model, by timm name and what makes it differ from a plain ViT."""


@pytest.fixture(scope="session")
def perturb():
    """Give a model weights under which each of its parts matters."""
    import torch

    def change(model):
        # As initialised, LayerScale hides a block's update and every norm and bias is idle.
        for parameter in model.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            elif parameter.dim() < 4:
                parameter.add_(0.5 * torch.randn_like(parameter))

    return change


@pytest.fixture(scope="session")
def make_backbone(perturb):
    """Build a small float32 backbone of a family: 3 blocks of width 48 over 4 x 4 patches."""
    import timm
    import torch
    from timm.layers import Attention

    from backbones import Backbone
    from datamodules.geometry import ResizeCrop

    def make(family="vit_tiny", **changes):
        name, options = FAMILIES[family]
        small = {"embed_dim": 48, "depth": 3, "num_heads": 3, "img_size": 64, "num_classes": 7}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = timm.create_model(name, **(small | options | changes))
            if family == "gated_attention":  # no model in timm asks for it yet
                for block in model.blocks:
                    block.attn = Attention(48, num_heads=3, qkv_bias=True, gated=True)
            perturb(model)
        size = tuple(model.patch_embed.img_size)
        return Backbone(model, name, ResizeCrop(size), (0.5,) * 3, (0.5,) * 3)

    return make


@pytest.fixture(scope="session", params=FAMILIES)
def family(request):
    """Name of each covered family in turn."""
    return request.param


@pytest.fixture
def backbone(make_backbone):
    """A small plain ViT: 16 patches and a class token."""
    return make_backbone()


@pytest.fixture(scope="session")
def make_frames():
    """Frames of a few streams in which about half of the patches move from frame to frame."""
    import torch

    def make(backbone, steps, streams=1, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        height, width = backbone.image_size
        frame = normal(streams, 3, height, width)
        frames = [frame]
        for _ in range(steps - 1):
            moving = normal(streams, 1, height // 16, width // 16) > 0
            moving = torch.nn.functional.interpolate(moving.double(), (height, width))
            frame = frame + 0.5 * moving * normal(streams, 3, height, width)
            frames.append(frame)
        return torch.stack(frames).to(backbone.mean)  # [t, s, c, h, w]

    return make


@pytest.fixture(scope="session")
def gumbel(root):
    """Words of a fit of the shipped config that takes seconds: 4 steps on a random backbone."""
    settings = {
        "model.weights": "random",
        "model.calibration_clips": 4,
        "model.fallback": "false",
        "data.num_frames": 4,
        "data.train_clips": 8,
        "data.calibration_clips": 4,
        "data.test_clips": 4,
        "data.batch_size": 4,
        "trainer.max_epochs": 2,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
    }
    words = [f"--{name}={value}" for name, value in settings.items()]
    return ["--config", str(root / "configs/gumbel/synthetic.yaml"), *words]


@pytest.fixture(scope="session")
def gumbel_run(gumbel, tmp_path_factory):
    """Folder of such a run, with a checkpoint of each step, for tests that only read it."""
    from policy.cli import main

    each_step = {
        "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
        "init_args": {"filename": "{step}", "every_n_train_steps": 1, "save_top_k": -1},
    }
    folder = tmp_path_factory.mktemp("gumbel") / "run"
    keep = f"--trainer.callbacks={json.dumps([each_step])}"
    main(["fit", *gumbel, keep, "--run_dir", str(folder)])
    return folder


@pytest.fixture(scope="session")
def digits():
    """The backbone of those runs: 12 x 12 patches, no prefix tokens, 4 blocks of width 96."""
    from backbones import load_backbone

    return load_backbone("regate_vit_digits", "random")


@pytest.fixture(scope="session")
def digit_clips():
    """The frames that those runs calibrate on: 4 clips, uint8 [4, 3, 96, 96] each."""
    from datamodules.synthetic import SyntheticClips

    clips = SyntheticClips(num_frames=4, calibration_clips=4).dataset("calibration")
    return [clips[index].frames for index in range(len(clips))]


@pytest.fixture
def fails(capsys):
    """The sentence after ``error:`` that a command fails with, the last line that it prints."""
    from policy.cli import main

    def run(words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1].removeprefix("error: ")

    return run


@pytest.fixture(scope="session")
def write_video():
    """Write a white square that walks over noise, 8 pixels a frame; returns the file's path."""
    import numpy as np

    from datamodules.video_writer import VideoWriter

    def write(path, frames=6, size=(96, 96), start=0):
        noise = np.random.default_rng(0).integers(60, 120, (*size, 3), np.uint8)
        with VideoWriter(path, fps=10) as writer:
            for index in range(start, start + frames):
                image = noise.copy()
                image[16:40, 8 * index : 8 * index + 24] = 255
                writer.write(image)
        return str(path)

    return write


@pytest.fixture
def video(write_video, tmp_path):
    """Path of six such frames."""
    return write_video(tmp_path / "walk.mp4")
