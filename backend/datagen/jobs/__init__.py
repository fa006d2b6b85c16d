"""What RQ runs: queues, workers, sweeper. Each job is a thin call into the workflow."""
