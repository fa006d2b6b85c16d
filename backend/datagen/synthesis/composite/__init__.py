"""The ``composite`` engine: cuts examples out of concept photos and blends them into backgrounds, on the CPU."""
