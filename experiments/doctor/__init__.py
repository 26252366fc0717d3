"""What `python -m experiments doctor` looks at, one module for each kind of thing."""
