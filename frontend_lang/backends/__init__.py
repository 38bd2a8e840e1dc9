"""Where programs run: the engine, scripts, and later the network."""
