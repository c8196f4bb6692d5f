#!/usr/bin/env bash
# Train one configuration on several machines under SLURM. For research, not for clinical use.
#   sbatch docs/training/slurm.sh axolotl_configs/bimedix_bi.yaml
# Submit from the project's root, on storage that all machines share. A job that is put back into the queue goes on from its last whole checkpoint.
#SBATCH --job-name=bimedix
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=48:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

config=${1:?usage: sbatch docs/training/slurm.sh CONFIG}
build=${BUILD:-build}
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
train=(.venv/bin/python -m axolotl_configs.train "$config" --build "$build")

# check, fit the rows, preprocess: once; refuses another configuration than the run was begun with, and does nothing when it has ended
srun --nodes=1 --ntasks=1 "${train[@]}" --step prepare
# one torchrun a machine; they find each other at the first machine's port
srun "${train[@]}" --step run --torchrun "--nnodes $SLURM_NNODES --nproc_per_node ${SLURM_GPUS_ON_NODE:-8} --rdzv_id $SLURM_JOB_ID --rdzv_endpoint $head:29400"
srun --nodes=1 --ntasks=1 "${train[@]}" --step keep
srun --nodes=1 --ntasks=1 .venv/bin/python -m axolotl_configs.merge "$config" --build "$build"
srun --nodes=1 --ntasks=1 .venv/bin/python -m axolotl_configs.verify --config "$config" --build "$build"
