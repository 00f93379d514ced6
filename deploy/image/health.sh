#!/bin/bash
# The health check of a container: asks the process's own operations listener whether it is ready, and says what it answered. Not in Node, since
# it runs every few seconds.
set -u
exec 3<>"/dev/tcp/127.0.0.1/${MANYHANDS_OPS_LISTEN##*:}" || exit 1
printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
answer=$(timeout 3 cat <&3)
echo "$answer"
[[ $answer == 'HTTP/1.1 200 '* ]]
