"""Health check of a worker's container: has the RQ worker on this host said within two minutes that it lives?

Reads no more of each worker's entry in Redis than it needs: one of another host that cannot be read does not matter.
"""

import contextlib
import os
import socket
import sys
from datetime import UTC, datetime, timedelta

from redis import Redis
from redis.exceptions import ResponseError
from rq.utils import utcparse
from rq.worker_registration import get_keys

#: RQ's workers report every minute or more often.
SILENCE = timedelta(minutes=2)

heard = []
with Redis.from_url(os.environ["REDIS_URL"]) as connection:
    for key in get_keys(connection=connection):
        with contextlib.suppress(ResponseError, ValueError):  # not an entry, or not a date
            host, moment = connection.hmget(key, "hostname", "last_heartbeat")
            if host is not None and moment is not None and host.decode() == socket.gethostname():
                heard.append(utcparse(moment.decode()))
sys.exit(not any(moment > datetime.now(UTC) - SILENCE for moment in heard))
