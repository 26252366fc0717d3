"""What a run leaves: records of its rounds, models, checkpoints, event files."""
