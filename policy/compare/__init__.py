"""Every policy on the same clips, read at the same compute."""
