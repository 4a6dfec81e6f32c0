#!/usr/bin/env bash
# `zsi run` on a GKE cluster, as a workload of XPK: create, list, delete.
#
#   launch/xpk.sh create --cluster pods --workload smile --type v5litepod-16 --zone us-east5-b \
#     --project mine configs/zsi/smile.py:paper --workdir=/shared/smile
#   launch/xpk.sh list --cluster pods --zone us-east5-b --project mine
#   launch/xpk.sh delete --cluster pods --workload smile --zone us-east5-b --project mine
#
# The workdir and the data have to lie on a disk that all hosts share, attached to the cluster by
# `xpk storage`. XPK copies this checkout into an image on top of --base-image.
#
#   --cluster NAME --zone ZONE --project PROJECT
#   create: --workload NAME --type TYPE [--slices N (1)] [--base-image IMAGE (python:3.12)]
#           [--image IMAGE]    one that has zsi_jax and its configs in its own folder
#           [--priority P] [--max-restarts N]
#   delete: --workload NAME
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.bash
. "$here/common.bash"

verbs 'create list delete' "$@"
verb=$1
shift

cluster='' zone='' project='' workload='' type='' slices=1 base_image=python:3.12 image='' priority=''
max_restarts='' python=python
options 'cluster zone project workload type slices base-image image priority max-restarts' '' "$@"
required cluster zone project
need xpk 'python -m pip install xpk'
where=("--cluster=$cluster" "--zone=$zone" "--project=$project")

case $verb in
  create)
    required workload type
    checked
    whole slices
    command="$python -m zsi_jax run $(quoted "${rest[@]}")"
    [ ${#settings[@]} -eq 0 ] || command="env $(quoted "${settings[@]}") $command"
    if [ -n "$image" ]; then
      from=("--docker-image=$image")
    else
      from=("--base-docker-image=$base_image" "--script-dir=$root")
      command="$python -m pip install --quiet -e '.[tpu]' && $command"
    fi
    [ -z "$priority" ] || from+=("--priority=$priority")
    [ -z "$max_restarts" ] || from+=("--max-restarts=$max_restarts")
    run xpk workload create "${where[@]}" "--workload=$workload" "--tpu-type=$type" \
      "--num-slices=$slices" "${from[@]}" "--command=$command"
    ;;
  list) run xpk workload list "${where[@]}" ;;
  delete)
    required workload
    run xpk workload delete "${where[@]}" "--workload=$workload"
    ;;
esac
