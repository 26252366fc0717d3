"""Run configurations with Flower: the SuperLink, the simulation, and the display on the terminal."""
