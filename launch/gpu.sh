#!/usr/bin/env bash
# `zsi run` on one machine with GPUs: one process that sees all of them.
#
#   launch/gpu.sh configs/zsi/smile.py:gpu --workdir=runs/smile
#   launch/gpu.sh --gpus 0,1 configs/zsi/smile.py:gpu --workdir=runs/smile -- mesh.fsdp=2
#
#   --gpus LIST       only these (all)
#   --memory SHARE    of each GPU's memory, taken at once (.75, jax's own choice)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.bash
. "$here/common.bash"

gpus='' memory='' python=''
options 'gpus memory' '' "$@"
checked
[[ ${gpus:-0} =~ ^[0-9]+(,[0-9]+)*$ ]] || die "--gpus $gpus is no list such as 0,1"
[[ ${memory:-.5} =~ ^0?\.[0-9]+$ ]] || die "--memory $memory is no share such as .9"
find_python
need nvidia-smi 'this machine has no NVIDIA driver; launch/local.sh takes what there is'

# cuda alone: where jax cannot use the GPUs this is an error, and not a run on the CPU.
settings+=(JAX_PLATFORMS=cuda)
[ -z "$gpus" ] || settings+=("CUDA_VISIBLE_DEVICES=$gpus")
[ -z "$memory" ] || settings+=("XLA_PYTHON_CLIENT_MEM_FRACTION=$memory")
become env "${settings[@]}" "$python" -m zsi_jax run "${rest[@]}"
