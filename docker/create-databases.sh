#!/bin/sh
# Run once by the PostgreSQL image on an empty volume: a database and an owner each for Label Studio and for Datagen.
# Over the network each owner is let into its own database alone, and nobody else, the superuser included, into any.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv ls LABEL_STUDIO_DB_PASSWORD
\getenv dg DATAGEN_DB_PASSWORD
CREATE USER labelstudio PASSWORD :'ls' CONNECTION LIMIT 60;
CREATE DATABASE labelstudio OWNER labelstudio;
REVOKE CONNECT ON DATABASE labelstudio FROM PUBLIC;
CREATE USER datagen PASSWORD :'dg';
CREATE DATABASE datagen OWNER datagen;
REVOKE CONNECT ON DATABASE datagen FROM PUBLIC;
SQL
cat >"$PGDATA/pg_hba.conf" <<'HBA'
# TYPE DATABASE    USER        ADDRESS METHOD
local  all         all                 trust
host   labelstudio labelstudio all     scram-sha-256
host   datagen     datagen     all     scram-sha-256
HBA
