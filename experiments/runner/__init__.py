"""From a configuration to its results, through Flower: a SuperLink, a simulation, and what the terminal shows."""
