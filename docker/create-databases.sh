#!/bin/sh
# Run once by the PostgreSQL image on an empty volume: a database and an owner each for Label Studio and for Datagen.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" -v ls="$LABEL_STUDIO_DB_PASSWORD" -v dg="$DATAGEN_DB_PASSWORD" <<'SQL'
CREATE USER labelstudio PASSWORD :'ls';
CREATE DATABASE labelstudio OWNER labelstudio;
CREATE USER datagen PASSWORD :'dg';
CREATE DATABASE datagen OWNER datagen;
SQL
