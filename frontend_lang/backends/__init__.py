"""Where programs run: the engine, a server, remote APIs, scripts and cassettes."""
