"""Health check of a worker's container: has the RQ worker on this host said within two minutes that it lives?"""

import os
import socket
import sys
from datetime import UTC, datetime, timedelta

from redis import Redis
from rq import Worker

#: RQ's workers report every minute or more often.
SILENCE = timedelta(minutes=2)

with Redis.from_url(os.environ["REDIS_URL"]) as connection:
    heard = [worker.last_heartbeat for worker in Worker.all(connection) if worker.hostname == socket.gethostname()]
oldest = datetime.now(UTC) - SILENCE
sys.exit(not any(moment is not None and moment.replace(tzinfo=UTC) > oldest for moment in heard))
