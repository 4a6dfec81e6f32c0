#!/usr/bin/env bash
# `zsi run` on the hosts of a Cloud TPU: create, setup, run, logs, stop.
#
#   launch/tpu_pod.sh create --name pod --zone us-east5-b --type v5litepod-16 --version v2-alpha-tpuv5-lite
#   launch/tpu_pod.sh setup --name pod --zone us-east5-b --disk 10.0.0.2:/share
#   launch/tpu_pod.sh run --name pod --zone us-east5-b configs/zsi/smile.py:paper --workdir=../shared/smile
#   launch/tpu_pod.sh logs --name pod --zone us-east5-b
#   launch/tpu_pod.sh stop --name pod --zone us-east5-b
#
# The workdir and the data have to lie on a disk that all hosts share: an NFS export, such as one of
# Filestore, which setup mounts at ~/shared. The code of the last commit goes to ~/zsi_jax.
#
#   --name NAME --zone ZONE [--project PROJECT]    which TPU
#   create: --type TYPE --version VERSION [--spot] [--network NETWORK]
#   setup:  [--disk HOST:PATH]
#   logs:   [--worker N] [--lines N]               of process N (0), the last lines (100)
#   stop:   [--delete]                             SIGTERM: the run saves; then the TPU is deleted
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.bash
. "$here/common.bash"

verbs 'create setup run logs stop' "$@"
verb=$1
shift

name='' zone='' project='' type='' version='' spot='' network='' disk='' worker=0 lines=100 delete=''
python=.venv/bin/python
options 'name zone project type version network disk worker lines' 'spot delete' "$@"
required name zone
need gcloud 'see cloud.google.com/sdk'
where=("--zone=$zone")
[ -z "$project" ] || where+=("--project=$project")

tpu() { run gcloud compute tpus tpu-vm "$@" "${where[@]}"; }
on() { tpu ssh "$name" "--worker=$1" "--command=$2"; }

case $verb in
  create)
    required type version
    more=()
    [ -z "$spot" ] || more+=(--spot)
    [ -z "$network" ] || more+=("--network=$network")
    tpu create "$name" "--accelerator-type=$type" "--version=$version" ${more[@]+"${more[@]}"}
    ;;
  setup)
    archive=zsi_jax.tar.gz
    run git -C "$root" archive --format=tar.gz "--output=$root/$archive" HEAD
    tpu scp "$root/$archive" "$name:$archive" --worker=all
    run rm "$root/$archive"
    # TPU VMs may have an older Python than 3.11: uv brings one.
    on all "mkdir -p zsi_jax && tar -xzf $archive -C zsi_jax && cd zsi_jax && \
python3 -m pip install --user --quiet uv && python3 -m uv venv --quiet --python 3.12 .venv && \
python3 -m uv pip install --quiet --python .venv/bin/python -e '.[tpu]'"
    if [ -n "$disk" ]; then
      on all "sudo apt-get -qq install -y nfs-common && mkdir -p shared && \
(mountpoint -q shared || sudo mount -t nfs $(quoted "$disk") shared) && sudo chown \$USER shared"
    fi
    on all 'cd zsi_jax && .venv/bin/python -c "import jax, libtpu; print(jax.__version__)"'
    ;;
  run)
    checked
    [ ${#settings[@]} -eq 0 ] || python="env $(quoted "${settings[@]}") $python"
    # jax asks the metadata of the TPU who is who, so the same command runs on every host.
    on all "cd zsi_jax && (nohup $python -m zsi_jax run $(quoted "${rest[@]}") \
>> ../zsi.log 2>&1 < /dev/null & echo \$! > ../zsi.pid)"
    ;;
  logs) on "$worker" "tail -n $lines zsi.log" ;;
  stop)
    # shellcheck disable=SC2016 # the hosts read their own pid
    on all 'kill -TERM $(cat zsi.pid) && while kill -0 $(cat zsi.pid) 2> /dev/null; do sleep 1; done'
    [ -z "$delete" ] || tpu delete "$name" --quiet
    ;;
esac
