#!/usr/bin/env bash
# A Slurm array job: each task measures one SGLang version on a node of its own, with as many
# xdist workers as the node has GPUs (each worker locks and uses one).
#
#   sbatch examples/slurm-array.sh
#
# Every task writes a report of its own; compare two of them afterwards with
#   append-prefill compare reports/<run of one>/run.json reports/<run of the other>/run.json
#
#SBATCH --job-name=append-prefill
#SBATCH --array=0-1%1
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --output=append-prefill-%A-%a.log
# --exclusive: a co-tenant makes blocks invalid. %1: one task at a time, so that both use the same node
# if it is named with --nodelist, and one environment folder is never made twice at once.
# Slurm's SIGTERM comes before the time limit, soon enough to stop the servers and report:
#SBATCH --signal=B:TERM@180
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch}"

candidates=(latest 0.5.21)

export NIGHTLY_CANDIDATE=${candidates[SLURM_ARRAY_TASK_ID]}
export NIGHTLY_WORKERS=${SLURM_GPUS_ON_NODE:-1}
export NIGHTLY_LIMIT_MINUTES=225
# The shared file system is slow for imports and compiled kernels: keep caches on the node.
export TMPDIR=${SLURM_TMPDIR:-/tmp}

# exec: the signal goes to the script that forwards it.
exec ci/nightly.sh
