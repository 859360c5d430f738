# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by the templates beside it, which set hadal_srun and call hadal_job. What it does, in order: checks the deck,
# runs `hadal selftest`, trains, and turns the exit code into what Slurm is to do (docs/howto/slurm.md):
#   0      done: the job is completed
#   75     stopped in good order: the job is requeued and goes on from its newest checkpoint; not after scancel, and
#          not for ever: HADAL_IDLE_REQUEUES times in a row without a newer checkpoint end it with 75
#   other  the job fails with this code; nothing is requeued, since the same fault would come again
#
# Settings, all from the environment of sbatch (sbatch --export=ALL,NAME=VALUE ...):
#   HADAL                 the program (build/release/hadal)
#   HADAL_SELFTEST        no: leave the self-test out (yes)
#   HADAL_IDLE_REQUEUES   requeues in a row without progress (3)
#   SLURM_MPI_TYPE        how srun tells the ranks of each other (pmix); `srun --mpi=list` shows what there is
set -uo pipefail

HADAL=${HADAL:-build/release/hadal}
export SLURM_MPI_TYPE=${SLURM_MPI_TYPE:-pmix}

hadal_signal=      # the last signal of Slurm: USR1 before the end of the time, TERM at scancel or pre-emption
hadal_interrupted= # set by each signal: `wait` has returned early
hadal_forward=     # set while a step runs that knows USR1
hadal_pid=
trap 'hadal_take USR1' USR1
trap 'hadal_take TERM' TERM

hadal_say() { printf 'slurm: job %s, start %d: %s\n' "${SLURM_JOB_ID:-none}" "$((${SLURM_RESTART_COUNT:-0} + 1))" "$*"; }

# Slurm sends TERM to the steps itself, USR1 (--signal=B:) to this script alone; srun hands it to all ranks.
hadal_take() {
  hadal_signal=$1
  hadal_interrupted=yes
  hadal_say "received SIG$1"
  if [ "$1" = USR1 ] && [ -n "$hadal_forward" ]; then kill -USR1 "$hadal_pid" 2>/dev/null; fi
}

# hadal_step COMMAND...: on all ranks; its code is srun's, or else that of rank 0 (rank.sh). A trapped signal ends `wait`
# before its time, so it is asked again; bash keeps the code of a step that has ended meanwhile.
hadal_step() {
  local code
  rm -f "$hadal_code_file"
  # shellcheck disable=SC2154 # the template sets hadal_home and hadal_srun
  srun "${hadal_srun[@]}" bash "$hadal_home/tools/slurm/rank.sh" "$hadal_code_file" "$@" &
  hadal_pid=$!
  while :; do
    hadal_interrupted=
    wait "$hadal_pid"
    code=$?
    [ -n "$hadal_interrupted" ] || break
  done
  if [ "$code" -eq 0 ]; then
    code=3
    if [ -s "$hadal_code_file" ]; then
      read -r code <"$hadal_code_file"
    else
      hadal_say "srun did not start the ranks; its reason stands above"
    fi
  fi
  rm -f "$hadal_code_file"
  return "$code"
}

hadal_newest() {
  local marker newest=none
  for marker in "$hadal_directory"/checkpoints/step-*[0-9]/DONE; do # sorted: the numbers have leading zeros
    [ -e "$marker" ] && newest=$(basename "$(dirname "$marker")")
  done
  printf '%s\n' "$newest"
}

# Counts the stops in a row after which the newest checkpoint was the same.
hadal_idle_stops() {
  local file=$hadal_directory/slurm_progress newest before=none count=0
  newest=$(hadal_newest)
  if [ -e "$file" ]; then read -r before count <"$file"; fi
  if [ "$newest" = "$before" ] || [ "$newest" = none ]; then count=$((count + 1)); else count=0; fi
  printf '%s %d\n' "$newest" "$count" >"$file"
  printf '%d\n' "$count"
}

hadal_requeue() {
  local idle
  if [ "$hadal_signal" = TERM ]; then
    hadal_say "ended from outside; not requeued. Submit it again to go on from $(hadal_newest)."
    exit 75
  fi
  idle=$(hadal_idle_stops)
  if [ "$idle" -gt "${HADAL_IDLE_REQUEUES:-3}" ]; then
    hadal_say "stopped $idle times without a newer checkpoint than $(hadal_newest); not requeued."
    hadal_say "Give it more time, or an earlier signal, then submit it again."
    exit 75
  fi
  # A job that is being cancelled must stay so: requeueing would bring it back. (SIGNALING: the signal is still on its way
  # to other nodes.)
  if ! scontrol --oneliner show job "${SLURM_JOB_ID:-none}" | grep -Eq 'JobState=(RUNNING|SIGNALING) '; then
    hadal_say "this job is no longer running; not requeued."
    exit 75
  fi
  hadal_say "stopped in good order at $(hadal_newest); requeued."
  scontrol requeue "$SLURM_JOB_ID" || {
    hadal_say "scontrol requeue was refused; submit the job again by hand."
    exit 75
  }
  exit 0 # Slurm has taken the job back already; this code is not looked at
}

# The check finds a faulty deck before all nodes start for it, and tells the folder of the run.
hadal_prepare() {
  local echo code
  [ $# -gt 0 ] || { hadal_say "a deck is missing: sbatch TEMPLATE DECK [table.key=value ...]"; exit 2; }
  [ -x "$HADAL" ] || { hadal_say "no program $HADAL: build it, or name it by HADAL=..."; exit 3; }
  echo=$("$HADAL" run "$@" --check)
  code=$?
  [ "$code" -eq 0 ] || { hadal_say "hadal run --check: exit code $code"; exit "$code"; }
  hadal_directory=$(sed -n 's/^run\.directory  *"\(.*\)"  .*/\1/p' <<<"$echo")
  hadal_directory=${hadal_directory:-checkpoints/$(basename "$1" .toml)}
  mkdir -p "$hadal_directory" || exit 3
  hadal_code_file=$hadal_directory/slurm_code
}

# hadal_job DECK [table.key=value ...]
hadal_job() {
  local code=0
  hadal_prepare "$@"
  hadal_say "nodes ${SLURM_JOB_NODELIST:-?}, ${SLURM_NTASKS:-1} ranks, run in $hadal_directory, newest checkpoint $(hadal_newest)"
  if [ "${HADAL_SELFTEST:-yes}" != no ]; then
    hadal_step "$HADAL" selftest --directory "$hadal_directory" || {
      code=$?
      hadal_say "the self-test failed with exit code $code; the node it names can be left out: sbatch --exclude=NODE"
      exit "$code"
    }
  fi
  [ "$hadal_signal" != TERM ] || exit 75
  [ -z "$hadal_signal" ] || hadal_requeue # no time is left to begin
  hadal_forward=yes
  hadal_step "$HADAL" run "$@" --restart auto
  code=$?
  hadal_forward=
  # Killed by the signal itself: it came before the program could take it.
  if [ "$code" -eq $((128 + 10)) ] && [ "$hadal_signal" = USR1 ]; then code=75; fi
  if [ "$code" -eq 75 ]; then hadal_requeue; fi
  if [ "$code" -eq 0 ]; then
    rm -f "$hadal_directory/slurm_progress"
    hadal_say "done"
  else
    hadal_say "failed with exit code $code (docs/errors.md)"
  fi
  exit "$code"
}
