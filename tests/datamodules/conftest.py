"""Small videos, encoded on the spot."""

import av
import numpy as np
import pytest


def picture(index: int, height: int, width: int) -> np.ndarray:
    """A frame whose grey level tells its number: 8, 12, 16, …"""
    return np.full((height, width, 3), 8 + 4 * (index % 60), dtype=np.uint8)


@pytest.fixture
def encode(tmp_path):
    """Write a video of numbered grey frames and return its path."""

    def write(
        name="video.mp4",
        frames=10,
        size=(48, 64),
        fps=10,
        codec="libx264",
        pts=None,
        noise=False,
        options=None,
        **container,
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        container["options"] = container.pop("container_options", {})
        with av.open(str(path), "w", **container) as output:
            stream = output.add_stream(codec, rate=fps)
            stream.height, stream.width = size
            # Odd sizes cannot halve their colour.
            stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
            stream.options = options or {}
            for index in range(frames):
                image = picture(index, *size)
                if noise:  # makes files long enough to be cut in the middle
                    image = random.integers(0, 256, image.shape, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                if pts is not None:
                    frame.pts = pts[index]
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path

    return write


@pytest.fixture
def cut():
    """Keep the first share of a file's bytes."""

    def shorten(path, share):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path

    return shorten


@pytest.fixture
def number_of():
    """Number of the frame that an image of ``encode`` shows."""
    return lambda image: round((float(np.asarray(image).mean()) - 8) / 4)
