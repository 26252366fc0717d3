"""Extending in code: each example is complete, and names the command that runs it."""
