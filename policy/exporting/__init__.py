"""A session's step as a program of static shapes, for machines without Regate."""
