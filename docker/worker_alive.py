"""Health check of a worker's container: does a worker of this host send heartbeats? See datagen/queue/heartbeats.py."""

import contextlib
import json
import os
import socket
import sys

from redis import Redis

with Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5, socket_connect_timeout=5) as connection:
    keys = [b"datagen:worker:" + name for name in connection.smembers("datagen:workers")]
    values = connection.mget(keys) if keys else []
hosts = set()
for value in values:
    with contextlib.suppress(ValueError, TypeError, IndexError, KeyError):  # no heartbeat, or not one of ours
        hosts.add(json.loads(value)[0])
sys.exit(socket.gethostname() not in hosts)
