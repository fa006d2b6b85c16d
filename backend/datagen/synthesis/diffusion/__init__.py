"""The ``diffusion`` engine: an inpainting model, fine-tuned with a LoRA, paints the concept at the places of composite.

The composite engine chooses places and outlines; this package produces the pixels. A module that imports torch says so
in its docstring. The engine's class, its parameters and its checks do not import torch, so any process can use them."""
