"""Inputs of a study: synchronization with Label Studio, pictures, imports and suggestions."""
