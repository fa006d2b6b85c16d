"""Channels of notifications: addresses, e-mail, signed webhooks, and the services that apprise supports."""
