"""A study's life: what an event means and what follows.

Rows and outbox rows are written in one transaction, jobs are enqueued after it.
"""
