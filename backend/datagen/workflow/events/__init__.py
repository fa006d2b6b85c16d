"""Webhook events, and the reconciler that finds those that were lost."""
