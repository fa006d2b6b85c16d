"""Notifications of a study's events: their recipients, and their deliveries."""
