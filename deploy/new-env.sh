#!/bin/sh
# Prints an environment for compose.yaml with fresh passwords: sh deploy/new-env.sh > deploy/.env
# Reads MANYHANDS_MODEL_API_KEY (or ANTHROPIC_API_KEY), MANYHANDS_MODEL_BASE_URL and DOCKER_SOCKET if they are set.
set -eu
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
socket=${DOCKER_SOCKET:-/var/run/docker.sock}
[ -S "$socket" ] || { echo "There is no Docker socket at $socket: start the engine, or set DOCKER_SOCKET." >&2; exit 1; }

cat <<END
# Made by deploy/new-env.sh. Keep it: the passwords belong to the data. Passwords start with a letter (deploy/nats/nats.conf).
REDIS_PASSWORD=r$(secret)
NATS_PASSWORD=n$(secret)
# The first API key; it has the operator scope.
MANYHANDS_API_KEY=mh_$(secret)
# The upstream that speaks the Messages API, and its key ("none" where it needs none).
MANYHANDS_MODEL_BASE_URL=${MANYHANDS_MODEL_BASE_URL:-https://api.anthropic.com}
MANYHANDS_MODEL_API_KEY=${MANYHANDS_MODEL_API_KEY:-${ANTHROPIC_API_KEY:-}}
# The engine's socket and the group that may use it.
DOCKER_SOCKET=$socket
DOCKER_GID=$(stat -L -c %g "$socket")
END
