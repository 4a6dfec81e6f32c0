#!/usr/bin/env bash
# `zsi run` on this machine: one process with all its devices, or several that work as one.
#
#   launch/local.sh configs/zsi/circles.py:tiny --workdir=runs/circles
#   launch/local.sh --processes 2 --devices 2 configs/zsi/circles.py:tiny --workdir=runs/circles
#
#   --processes N   N processes on the CPU, as a trial of many hosts (1)
#   --devices K     K CPU devices in each process (1)
#   --port PORT     where the processes meet (a free one)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.bash
. "$here/common.bash"

processes=1 devices='' port='' python=''
options 'processes devices port' '' "$@"
checked
whole processes
[ -z "$devices" ] || whole devices
[ -z "$port" ] || whole port
find_python
command=("$python" -m zsi_jax run "${rest[@]}")

if [ "$processes" -gt 1 ] || [ -n "$devices" ]; then
  settings+=(JAX_PLATFORMS=cpu)
fi
[ -z "$devices" ] || settings+=("JAX_NUM_CPU_DEVICES=$devices")
if [ "$processes" -eq 1 ]; then
  [ ${#settings[@]} -eq 0 ] || command=(env "${settings[@]}" "${command[@]}")
  become "${command[@]}"
  exit
fi

if [ -z "$port" ]; then
  free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
  if [ -n "$dry" ]; then port=61440; else port=$("$python" -c "$free"); fi
fi
settings+=("JAX_COORDINATOR_ADDRESS=127.0.0.1:$port" "JAX_NUM_PROCESSES=$processes")
started=() stopped=''
# What a script starts in the background does not hear Ctrl-C; SIGTERM lets the run save.
[ -n "$dry" ] || trap 'stopped=143; kill -TERM "${started[@]}" 2> /dev/null || true' INT TERM
for ((p = 0; p < processes; p++)); do
  one=(env "${settings[@]}" "JAX_PROCESS_ID=$p" "${command[@]}")
  if [ -n "$dry" ]; then
    printf '%s &\n' "$(quoted "${one[@]}")"
  else
    "${one[@]}" &
    started+=($!)
  fi
done
if [ -n "$dry" ]; then
  echo wait
  exit
fi
status=0
for process in "${started[@]}"; do
  code=0
  wait "$process" || code=$?
  if [ -n "$stopped" ]; then # what `wait` said may be about the signal
    while kill -0 "$process" 2> /dev/null; do sleep 0.1 || true; done
    code=$stopped
  fi
  [ "$status" -ne 0 ] || status=$code
done
exit "$status"
