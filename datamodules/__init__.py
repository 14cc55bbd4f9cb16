"""Where clips come from: synthetic video, folders of videos, streams.

Nothing is imported here, so that ``datamodules.errors`` costs no torch import.
"""
