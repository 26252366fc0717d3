"""Analysis of results: statistics, claims, figures, the report."""
