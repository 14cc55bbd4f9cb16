"""What a session is asked to watch over on a stream without end: cuts, ages and spot checks."""

from dataclasses import dataclass

from datamodules.errors import RegateError


@dataclass(frozen=True)
class Guard:
    """What is watched over on each stream, besides the gate's own decisions.

    A *flush* recomputes every patch in every block; the gate is not asked. To refresh old patches a
    few at a time buys less for the same MACs: each is computed beside others as stale as itself.

    Args:
        cuts: Flush at a scene cut: when a large share of the patches has jumped since the frame
            before. A cut to a frame that is held is seen on the next one that is not; none is seen
            on a stream's first three frames.
        max_age: Flush once a patch was last recomputed, in every block, this many frames ago.
            Streams side by side have bounds of their own between half of it and all of it, by
            their seeds (0: all of it), so that they do not flush together. None for no bound.
        check_every: Every so many frames run the dense model as well, tell how far the gated
            output is from it, and go on from the dense one. Costs both. None for never.
        cap: Most that one frame of a flush may spend, fraction of the dense frame's MACs, where
            latency counts: a flush then takes several frames, what is most urgent first. It limits
            neither the gate nor a stream's first frame. None for no limit but a hard budget, which
            is a cap as well.
        jump: How far a patch must move from one frame to the next to have jumped, relative to the
            norm of its embedding; also twice as far as on each of the two frames before, which
            tells a cut from a moving camera.
        jumped_share: Share of patches that must jump at once for a cut.

    Raises:
        RegateError: If a setting is out of its range, or a cap forbids the spot checks.
    """

    cuts: bool = True
    max_age: int | None = 100
    check_every: int | None = None
    cap: float | None = None
    jump: float = 0.25
    jumped_share: float = 0.3

    def __post_init__(self) -> None:
        """Check the ranges where they are first known."""
        for name in ("max_age", "check_every"):
            frames = getattr(self, name)
            if frames is not None and not frames >= 1:  # NaN too
                raise RegateError(f"{name} must be 1 frame or more, or none, got {frames}")
        if self.cap is not None and not 0 < self.cap <= 1:
            raise RegateError(
                f"cap must be in (0, 1], the fraction of a dense frame's MACs; got {self.cap:g}"
            )
        if not self.jump > 0:
            raise RegateError(f"jump must be > 0, relative to a token's norm, got {self.jump:g}")
        if not 0 <= self.jumped_share < 1:
            raise RegateError(
                f"jumped_share must be in [0, 1), a share of the patches, got {self.jumped_share:g}"
            )
        if self.cap is not None and self.check_every is not None:
            raise RegateError(
                f"a spot check runs the dense model, which a cap of {self.cap:g} forbids: "
                "give one of check_every and cap"
            )


OFF = Guard(cuts=False, max_age=None)
