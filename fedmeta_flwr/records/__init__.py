"""The files of a run: records of its rounds, models, checkpoints and event files."""
