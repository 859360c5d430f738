#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts of tools/slurm/ under a real Slurm of one node: the tiny deck on four ranks is stopped by the signal before its
time limit, requeued, goes on and ends with the state hash of a run of one rank that nobody stopped; faults fail, a stop without progress
is not repeated for ever, and a cancelled job stays cancelled.
Usage: slurm_test.py SOURCE_DIR PROGRAM. Exit code 77: Slurm cannot be started here (the reason is printed)."""
import csv
import os
import re
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from cluster import Cluster, Unavailable  # noqa: E402

# The training's ranks, started by srun: two stages, two replicas that share the experts.
LAYOUT = ["parallel.dp=2", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"]
RANKS = 4
UNDISTURBED = 40.0  # seconds that the run is to take on one core; the signal is to come well before its end
BEFORE = 15.0       # seconds from the submission to the round in which slurmctld sends the signal

ENDS = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")

# In the place of the program: answers --check as it does, and ends as its first override says.
FAKE = """#!/bin/bash
for word; do [ "$word" = --check ] && { echo 'run.directory               "run"    x.toml:1'; exit 0; }; done
trap 'exit 75' TERM
echo "fake rank of $SLURM_STEP_NUM_TASKS"
case $3 in
  code=*) exit "${3#code=}" ;;
  sleep) touch asleep; for i in $(seq 100); do sleep 0.2; done ;;
esac
"""


def say(text):
    print(text, flush=True)


class Bench:
    def __init__(self, cluster, source, program):
        self.cluster, self.source, self.program = cluster, source, program
        self.one_thread = dict(cluster.environment, OMP_NUM_THREADS="1", OMP_PROC_BIND="false",
                               OMP_WAIT_POLICY="passive")

    def submit(self, name, *arguments, program=None, script="cpu", ranks=1, options=(), **settings):
        folder = self.cluster.folder / name
        folder.mkdir(exist_ok=True)
        given = {"HADAL": program or self.program, "HADAL_HOME": self.source, "HADAL_CPU_BIND": "none",
                 "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                 "OMPI_MCA_btl_vader_single_copy_mechanism": "none", **settings}
        command = ["sbatch", "--parsable", f"--job-name={name}", f"--chdir={folder}", f"--ntasks={ranks}",
                   "--cpus-per-task=1", "--export=ALL," + ",".join(f"{k}={v}" for k, v in given.items()),
                   "--output=%x-%j.log", *options, f"{self.source}/tools/slurm/{script}.sbatch", *arguments]
        number = self.cluster.must(*command).strip()
        return number, folder / f"{name}-{number}.log"

    def follow(self, number, seconds, *changes):
        """To its end; a requeued job would wait two minutes, so its start is moved to now. The last state."""
        end = time.time() + seconds
        while time.time() < end:
            job = self.cluster.job(number)
            if job["JobState"] in ENDS:  # there are passing states too: SIGNALING, COMPLETING, ...
                return job
            if job["JobState"] == "PENDING" and int(job["Restarts"]) > 0 and job["Reason"] == "BeginTime":
                time.sleep(2)  # slurmd refuses a start within the second in which the job was ended: "credential revoked"
                self.cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now", *changes)
            time.sleep(0.3)
        raise AssertionError(f"job {number} did not end within {seconds} s: {job}\n{self.cluster.logs()}")


def expect(condition, what, text=""):
    if not condition:
        raise AssertionError(f"{what}\n{text}")


def gpu_templates(bench):
    """Slurm takes their options and starts eight ranks; the program is a stand-in, there are no GPUs."""
    for name in ("pretrain", "extend", "posttrain"):
        number, log = bench.submit(name, "x.toml", "code=0", script=name, program=str(bench.cluster.folder / "fake"),
                                   options=["--nodes=1", "--ntasks-per-node=8"], ranks=8)
        job = bench.follow(number, 30)
        text = log.read_text()
        # Once for the self-test, once for the run.
        expect(job["JobState"] == "COMPLETED" and text.count("fake rank of 8") == 16, f"{name}.sbatch: {job}", text)
        say(f"{name}.sbatch: 8 ranks started, job COMPLETED")


def until(ready, what, log, seconds=20):
    end = time.time() + seconds
    while not ready():
        expect(time.time() < end, f"not within {seconds} s: {what}", log.read_text() if log.exists() else "")
        time.sleep(0.2)


def codes_and_requeues(bench):
    """What common.sh makes of exit codes, with a stand-in for the program."""
    fake = bench.cluster.folder / "fake"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    quick = {"program": str(fake), "HADAL_SELFTEST": "no", "HADAL_IDLE_REQUEUES": "1"}
    jobs = {code: bench.submit(f"code{code}", "x.toml", f"code={code}", **quick) for code in (0, 3, 75)}
    jobs["fixed"] = bench.submit("fixed", "x.toml", "code=75", options=["--no-requeue"], **quick)
    cancelled, its_log = bench.submit("cancelled", "x.toml", "sleep", **quick)
    early, early_log = bench.submit("early", "x.toml", "sleep", **quick)
    for code, state, restarts in ((0, "COMPLETED", 0), (3, "FAILED", 0), (75, "FAILED", 1)):
        number, log = jobs[code]
        job = bench.follow(number, 40)
        found = (job["JobState"], job["ExitCode"], int(job["Restarts"]))
        expect(found == (state, f"{code}:0", restarts), f"exit code {code}: {found}", log.read_text())
        if code == 75:
            expect("without a newer checkpoint" in log.read_text(), "the reason of the end", log.read_text())
        say(f"exit code {code}: job {found[0]}, requeued {found[2]} times")
    number, log = jobs["fixed"]
    job = bench.follow(number, 20)
    expect((job["ExitCode"], job["Restarts"]) == ("75:0", "0"), f"--no-requeue: {job}", log.read_text())
    say("--no-requeue: job FAILED with exit code 75, not requeued")

    until(lambda: (its_log.parent / "asleep").exists(), "the job to be cancelled starts", its_log)
    bench.cluster.must("scancel", cancelled)
    bench.follow(cancelled, 20)
    time.sleep(1)
    job = bench.cluster.job(cancelled)
    expect((job["JobState"], job["Restarts"]) == ("CANCELLED", "0"), f"scancel: {job}", its_log.read_text())
    say("scancel: job CANCELLED, not requeued")

    # The stand-in does not know the signal and dies of it, as the program does in its first moments.
    until(lambda: (early_log.parent / "asleep").exists(), "the job to be signalled starts", early_log)
    bench.cluster.must("scancel", "--batch", "--signal=USR1", early)
    until(lambda: bench.cluster.job(early)["Restarts"] == "1", "a signalled job is requeued", early_log)
    bench.cluster.must("scancel", early)
    say("SIGUSR1 before the program takes it: requeued")

    number, log = bench.submit("faulty", "missing.toml", HADAL_SELFTEST="no")
    job = bench.follow(number, 30)
    expect(job["ExitCode"] == "2:0" and "E001" in log.read_text(), f"a deck that is not there: {job}", log.read_text())
    say("a missing deck: job FAILED with exit code 2, E001 in the log")


def prepare_tiny(bench):
    """The deck and its data in a folder; the steps that take UNDISTURBED seconds on one thread."""
    folder = bench.cluster.folder / "tiny"
    folder.mkdir()
    deck = (Path(bench.source) / "input/pretrain/tiny.toml").read_text()
    paths = 'paths = ["docs", "src"]'
    expect(paths in deck, "tiny.toml has other sources")
    deck = deck.replace(paths, f'paths = ["{bench.source}/docs", "{bench.source}/src"]')
    (folder / "tiny.toml").write_text(deck)
    run = lambda *words: subprocess.run([bench.program, *words], cwd=folder, env=bench.one_thread, check=True,
                                        stdout=subprocess.DEVNULL, timeout=120)
    run("data", "build", "tiny.toml")
    run("run", "tiny.toml", "run.directory=probe", "train.steps=30", "train.validate_every=0")
    with open(folder / "probe/history.csv") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    # The fastest step: other work on the machine must not make the run too short.
    step = min(float(row["step_seconds"]) for row in rows)
    return folder, max(60, int(UNDISTURBED / step))


def hash_in(text):
    found = re.findall(r"state hash ([0-9a-f]{32})", text)
    return found[-1] if found else "none"


def ranks_find_each_other(bench):
    """Two ranks started by srun make one MPI world."""
    settings = "--export=ALL,OMP_NUM_THREADS=1,OMPI_MCA_btl_vader_single_copy_mechanism=none"
    text = bench.cluster.must("srun", "--ntasks=2", "--mpi=pmix", settings, bench.program, "selftest",
                              f"--directory={bench.cluster.folder}")
    expect("selftest: passed with 2 ranks" in text, "srun --mpi=pmix hadal selftest", text)
    say(text.strip().splitlines()[-1] + ", by srun --mpi=pmix")


def run_both(bench, folder, steps, number_of_try):
    """The job, and beside it a run of one rank that nobody stops."""
    # slurmctld looks at time limits every 30 s; what is due within the next round and --signal's seconds is signalled.
    wait = (30 - BEFORE - (time.time() - bench.cluster.began)) % 30
    say(f"{steps} steps; submitted in {wait:.0f} s, signalled {BEFORE:.0f} s later")
    time.sleep(wait)
    arguments = ["tiny.toml", f"train.steps={steps}", "train.validate_every=0", "checkpoint.every=0"]
    command = [bench.program, "run", *arguments, f"run.directory=undisturbed{number_of_try}"]
    reference = subprocess.Popen(command, cwd=folder, env=bench.one_thread, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
    run = folder / f"run{number_of_try}"
    try:
        number, log = bench.submit("tiny", *arguments, *LAYOUT, f"run.directory={run.name}", ranks=RANKS,
                                   options=("--time=1", "--signal=B:USR1@40"))
        # Time enough after the first stop: on a busy machine there would be many.
        job = bench.follow(number, 200, "TimeLimit=10")
        return job, log, run, reference.communicate(timeout=200)[0]
    finally:
        reference.kill()


def stopped_and_requeued(bench):
    folder, steps = prepare_tiny(bench)
    job, log, run, undisturbed = run_both(bench, folder, steps, 1)
    if job["JobState"] == "COMPLETED" and job["Restarts"] == "0":
        say("the run ended before the signal, the machine has become faster; once more")
        job, log, run, undisturbed = run_both(bench, folder, 4 * steps, 2)
    elif job["JobState"] == "COMPLETED" and "SIGUSR1" not in (run / "run.log").read_text():
        say("the signal came during the self-test, the machine is busy; once more")
        job, log, run, undisturbed = run_both(bench, folder, steps, 3)
    text = log.read_text()
    expect(job["JobState"] == "COMPLETED" and job["ExitCode"] == "0:0", f"the job: {job}", text)
    expect(int(job["Restarts"]) >= 1 and "received SIGUSR1" in text and "requeued" in text, "no requeue was seen", text)
    expect(text.count("selftest: passed") == int(job["Restarts"]) + 1, "a self-test at each start", text)
    expect("SIGUSR1" in (run / "run.log").read_text(), "the program did not speak of the signal", text)
    expect(f"{RANKS} ranks on 1 node(s): dp 2, ep 2, pp 2" in text, f"{RANKS} ranks", text)
    spoken = [line for line in text.splitlines() if line.startswith("slurm:")]
    expect(hash_in(undisturbed) != "none" and hash_in(text) == hash_in(undisturbed),
           f"state hash {hash_in(text)}, undisturbed {hash_in(undisturbed)}", text)
    left = [name for name in ("slurm_progress", "slurm_code") if (run / name).exists()]
    expect(not left, f"left in the run directory: {left}")
    say("\n".join(spoken))
    say(f"stopped by the time limit's signal, requeued {job['Restarts']} times; state hash {hash_in(text)} as undisturbed")


def main():
    source, program = str(Path(sys.argv[1]).resolve()), str(Path(sys.argv[2]).resolve())
    begin = time.time()
    try:
        cluster = Cluster()
    except Unavailable as reason:
        say(f"SKIPPED: Slurm cannot be started here: {reason}")
        return 77
    with cluster:
        say(f"{cluster.must('sinfo', '--version').strip()} on loopback after {time.time() - begin:.1f} s")
        bench = Bench(cluster, source, program)
        try:
            codes_and_requeues(bench)
            gpu_templates(bench)
            ranks_find_each_other(bench)
            stopped_and_requeued(bench)
        except (AssertionError, subprocess.SubprocessError) as fault:
            say(f"FAILED: {fault}")
            say(cluster.logs(30))
            return 1
    say(f"ok, {time.time() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
