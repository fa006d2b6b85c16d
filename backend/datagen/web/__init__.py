"""The web process: it checks, stores and answers requests. It does no heavy work and takes no workflow decisions."""
