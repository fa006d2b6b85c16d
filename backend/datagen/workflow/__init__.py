"""A study's life: what an event means and what follows. Rows and outbox in one transaction, knocks after it."""
