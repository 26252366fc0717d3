"""Messages between server and nodes, and the order in which replies arrive."""
