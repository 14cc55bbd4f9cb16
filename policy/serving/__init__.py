"""Serving a gate on video: frames in, one row per frame and a summary beside dense out."""
