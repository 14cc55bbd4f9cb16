"""Reinforcement learning: the environment of a reuse policy, and the agents that learn in it."""
