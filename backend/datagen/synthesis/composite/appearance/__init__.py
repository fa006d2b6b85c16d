"""How a placed instance looks: contrast, blending, pose and visibility."""
