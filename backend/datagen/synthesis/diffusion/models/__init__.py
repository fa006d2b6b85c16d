"""Adapters to model families: denoisers, attention maps, latents, crops."""
