"""The checks of `python -m experiments doctor`, by subject."""
