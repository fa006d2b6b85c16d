"""The ``diffusion`` engine: an inpainting model, fine-tuned with a LoRA, paints the concept at composite's places.

The composite engine chooses places and outlines; this package produces the pixels. Modules that import torch say so in
their docstring. The engine's class, its parameters and its checks do not import it, so that any process can use them.
"""
