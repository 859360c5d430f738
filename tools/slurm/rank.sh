#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One rank of a step: rank.sh CODE_FILE COMMAND...
#
# srun --kill-on-bad-exit takes any code but 0 for a fault and kills the other ranks, also while they still write what
# exit code 75 promises. So a good stop leaves here as 0, and rank 0 notes its code in a file for the batch script, which
# runs on the same node. (srun may also return 0 for tasks that were never launched: then there is no such file.)
#
# HADAL_NICS="mlx5_0:1 mlx5_1:1 ...": the network card of each local rank, for UCX (MPI). Left empty where the
# nearest card is found by itself: NCCL always does so, and UCX mostly.
code_file=$1
shift
trap : USR1 TERM # meant for the program; this shell must outlive it, and a trap (unlike '') is not inherited
if [ -n "${HADAL_NICS:-}" ]; then
  read -ra nics <<<"$HADAL_NICS"
  export UCX_NET_DEVICES=${nics[${SLURM_LOCALID:-0} % ${#nics[@]}]}
fi
"$@"
code=$?
if [ "${SLURM_PROCID:-0}" -eq 0 ]; then printf '%d\n' "$code" >"$code_file" || exit 3; fi
if [ "$code" -eq 75 ]; then exit 0; fi
exit "$code"
