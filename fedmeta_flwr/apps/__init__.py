"""The server's and the client's app, and how their parts are put together from a run's configuration."""
