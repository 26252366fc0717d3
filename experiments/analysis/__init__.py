"""From results to numbers: statistics, claims, figures, the report."""
