"""The ``diffusion`` engine: an inpainting model, taught the concept by a LoRA, paints it where composite would lay it.

Where and which outline: ``datagen.synthesis.composite.engine``. What pixels: here. Only modules that say so in their first
line import torch; the engine's class, its parameters and its checks do not, so that any process may ask them.
"""
