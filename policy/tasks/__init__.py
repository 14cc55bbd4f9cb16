"""Lightning modules: what is trained, and what is logged while it is."""
