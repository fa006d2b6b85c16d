"""Where an instance is placed: learned areas, matching context, hard negatives."""
