"""A module of the user's own that cannot be imported."""

raise ZeroDivisionError("at import")
