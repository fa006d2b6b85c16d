"""Health check of a worker's container: does a worker of this host send heartbeats? See datagen/jobs/heartbeats.py."""

import json
import os
import socket
import sys

from redis import Redis

with Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5, socket_connect_timeout=5) as connection:
    keys = [b"datagen:worker:" + name for name in connection.smembers("datagen:workers")]
    found = [json.loads(value)[0] for value in connection.mget(keys) if value is not None] if keys else []
sys.exit(socket.gethostname() not in found)
