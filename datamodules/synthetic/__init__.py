"""Handwritten digits moving over photographs: the embedded default, nothing to download."""

from datamodules.synthetic.clips import SyntheticClips, generator_fingerprint

__all__ = ["SyntheticClips", "generator_fingerprint"]
