"""The workflow of a study: it handles events and carries out decisions.

Rows and outbox rows are written in one transaction. Jobs are enqueued after the transaction commits.
"""
