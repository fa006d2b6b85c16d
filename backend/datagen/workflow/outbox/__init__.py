"""Publishing of outbox rows to Label Studio."""
