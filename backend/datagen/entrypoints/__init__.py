"""Entry points of processes: the services, the functions that RQ runs, the scheduler, and the installation check."""
