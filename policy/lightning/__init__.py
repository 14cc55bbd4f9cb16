"""How Lightning is driven: run folders, checkpoints that survive, resuming, the NaN guard."""
