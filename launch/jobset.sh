#!/usr/bin/env bash
# `zsi run` on Kubernetes as a JobSet: create, logs, delete; --dry-run shows the whole manifest.
#
#   launch/jobset.sh create --name smile --image IMAGE --claim disk --tpu tpu-v5-lite-podslice \
#     --topology 4x4 --hosts 4 configs/zsi/smile.py:paper --workdir=/shared/smile
#   launch/jobset.sh create --name smile --image IMAGE --claim disk --gpu nvidia-h100-80gb --chips 8 \
#     --hosts 2 configs/zsi/smile.py:paper --workdir=/shared/smile
#   launch/jobset.sh logs --name smile
#   launch/jobset.sh delete --name smile
#
# The image holds zsi_jax and its configs (launch/Dockerfile); the claim is a volume that all hosts
# may write, and holds the workdir and the data.
#
#   create: --name NAME --image IMAGE --claim CLAIM [--mount DIR (/shared)] [--restarts N (10)]
#           --tpu ACCELERATOR --topology TOPOLOGY | --gpu ACCELERATOR
#           [--hosts N (1)] [--chips N (4), of a host] [--slices N (1), of TPUs]
#   logs:   --name NAME [--lines N (100)]
#   delete: --name NAME
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.bash
. "$here/common.bash"

verbs 'create logs delete' "$@"
verb=$1
shift

name='' image='' claim='' mount=/shared restarts=10 tpu='' topology='' gpu='' hosts=1 chips=4 slices=1
lines=100 python=python
options 'name image claim mount restarts tpu topology gpu hosts chips slices lines' '' "$@"
required name
[[ $name =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] || die "--name $name is no name of Kubernetes: a-z, 0-9 and -"
need kubectl 'see kubernetes.io/docs/tasks/tools'

json() { # a word as JSON, which YAML reads too
  local word=${1//\\/\\\\}
  printf '"%s"' "${word//\"/\\\"}"
}

rows() { # rows INDENT ROW ...: lines of YAML, the first one without its indent
  local indent=$1 row
  shift
  printf '%s' "$1"
  shift
  for row in "$@"; do printf '\n%*s%s' "$indent" '' "$row"; done
}

fill() { # fill NAME VALUE: for ${NAME} in text
  text=${text//"\${$1}"/"$2"}
}

manifest() {
  local words=() word pairs=() pair text
  text=$(< "$here/jobset.yaml")
  for word in "$python" -m zsi_jax run "${rest[@]}"; do words+=("$(json "$word")"); done
  fill command "[$(IFS=, && printf '%s' "${words[*]}")]"
  if [ -n "$tpu" ]; then # GKE tells each pod of a TPU who it is, and places a slice as a whole
    fill annotations '{"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}'
    fill selector "$(rows 16 "cloud.google.com/gke-tpu-accelerator: $tpu" "cloud.google.com/gke-tpu-topology: $topology")"
    fill resource google.com/tpu
    pairs=('- name: JAX_PLATFORMS' '  value: "tpu,cpu"')
  else
    fill annotations '{}'
    fill selector "cloud.google.com/gke-accelerator: $gpu"
    fill resource nvidia.com/gpu
    pairs=('- name: JAX_PLATFORMS' '  value: "cuda"'
      '- name: JAX_COORDINATOR_ADDRESS' "  value: \"$name-workers-0-0.$name:61440\""
      '- name: JAX_NUM_PROCESSES' "  value: \"$hosts\""
      '- name: JAX_PROCESS_ID' '  valueFrom:' '    fieldRef:'
      "      fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']")
  fi
  for pair in ${settings[@]+"${settings[@]}"}; do
    pairs+=("- name: ${pair%%=*}" "  value: $(json "${pair#*=}")")
  done
  fill env "$(rows 20 "${pairs[@]}")"
  fill name "$name"
  fill image "$image"
  fill claim "$claim"
  fill mount "$mount"
  fill restarts "$restarts"
  fill slices "$slices"
  fill hosts "$hosts"
  fill chips "$chips"
  printf '%s\n' "$text"
}

case $verb in
  create)
    required image claim
    [ -n "$tpu$gpu" ] || die '--tpu or --gpu is missing; --help shows an example'
    [ -z "$tpu" ] || [ -z "$gpu" ] || die '--tpu and --gpu: one of them'
    [ -z "$tpu" ] || required topology
    [ -z "$gpu" ] || [ "$slices" = 1 ] || die '--slices is for TPUs; give --hosts'
    for option in hosts chips slices restarts; do whole "$option"; done
    checked
    if [ -n "$dry" ]; then
      printf 'kubectl apply -f - <<%s\n%s\n%s\n' "'END'" "$(manifest)" END
    else
      manifest | kubectl apply -f -
    fi
    ;;
  logs) run kubectl logs "--selector=jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0" "--tail=$lines" ;;
  delete) run kubectl delete jobset "$name" ;;
esac
