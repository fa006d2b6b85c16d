"""Webhook events, and the reconciler that finds changes whose events were lost."""
