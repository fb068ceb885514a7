#!/bin/sh
# Runs once, on an empty PostgreSQL: a database and an account each for Atlas and Label Studio.
set -eu

make() {
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set name="$1" --set password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

make atlas "$ATLAS_DB_PASSWORD"
make label_studio "$LABEL_STUDIO_DB_PASSWORD"
