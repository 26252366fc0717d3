"""The ServerApp and the ClientApp, and how their parts are built from a run's configuration."""
