"""The ``diffusion`` engine: an inpainting model, fine-tuned with a LoRA, paints the concept at composite's places.

The composite engine chooses places and outlines; this package makes the pixels. Only modules that say so in their first
line import torch; the engine's class, its parameters and its checks do not, so that any process may ask them.
"""
