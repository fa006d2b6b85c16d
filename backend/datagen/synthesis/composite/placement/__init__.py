"""Placement of an instance: learned areas, context match and hard negatives."""
