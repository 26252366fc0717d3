"""Networks, how they learn from episodes, and how they are evaluated."""
