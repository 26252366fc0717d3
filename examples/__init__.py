"""Extending in code: each example is complete, and says the command that runs it."""
