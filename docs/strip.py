"""Puts frames of a video side by side, for the pictures in the docs.

The picture at the top of the README, from a video of intel-iot-devkit/sample-videos (CC BY 4.0):

    regate stream one-by-one-person-detection.mp4 --gate threshold --knob 0.5 \
        --backbone vit_tiny_patch16_224 --max_frames 125 --overlay overlay.mp4
    python docs/strip.py overlay.mp4 55 64 74 110 --out docs/images/overlay.png
"""

import argparse
from pathlib import Path

from PIL import Image

from datamodules.video import read_frames

GAP = 4
WHITE = (255, 255, 255)


def strip(video: Path, chosen: list[int], width: int) -> Image.Image:
    """Frames of a video from left to right.

    Args:
        video: Any file that PyAV decodes.
        chosen: Numbers of the frames, counted from 0.
        width: Of the result, pixels.

    Raises:
        SystemExit: If the video has no such frame.
    """
    found = {
        frame.index: Image.fromarray(frame.image)
        for frame in read_frames(video, count=max(chosen) + 1)
        if frame.index in chosen
    }
    if missing := sorted(set(chosen) - set(found)):
        raise SystemExit(f"error: {video} has no frame {missing[0]}: choose smaller numbers")
    each = (width - GAP * (len(chosen) - 1)) // len(chosen)
    height = round(each * found[chosen[0]].height / found[chosen[0]].width)
    whole = Image.new("RGB", (len(chosen) * (each + GAP) - GAP, height), WHITE)
    for place, number in enumerate(chosen):
        shown = found[number].resize((each, height), Image.Resampling.LANCZOS)
        whole.paste(shown, (place * (each + GAP), 0))
    return whole


def main() -> None:
    """Read the command line and write the picture."""
    parser = argparse.ArgumentParser(description="Frames of a video side by side, as a PNG.")
    parser.add_argument("video", type=Path)
    parser.add_argument("frames", type=int, nargs="+", help="numbers, counted from 0")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--width", type=int, default=1280, help="of the picture, pixels")
    args = parser.parse_args()
    # 256 colours: a third of the size, and frames that are mostly greyed need no more.
    whole = strip(args.video, args.frames, args.width).quantize(256)
    whole.save(args.out, optimize=True)
    print(f"wrote {args.out} ({args.out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
