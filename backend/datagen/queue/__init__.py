"""RQ: the queues, the worker, heartbeats, allowed jobs, and recovery of unqueued or abandoned work."""
