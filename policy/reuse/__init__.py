"""Reuse mechanisms: how a frame is computed when only some of its tokens are."""
