"""Placement of an instance: learned areas, layout, matching of the surroundings, and hard negatives."""
