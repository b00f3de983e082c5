# On a cluster: what does not become a job there, what is looked at before the first one is sent,
# and what is said at the end.

import asyncio
import atexit
import functools
import logging
import shutil
from collections import Counter
from contextlib import suppress

from snakemake.settings.types import ExecMode

from noctact.calls import drop
from noctact.slurm import (
    Demand,
    jobs_here,
    last_words,
    newest,
    wait_for_jobs_here,
    what_to_edit,
    would_take,
)

# For the jobs: up to which size the call looks into files, in bytes. They read no profile.
CHECKSUM_LIMIT = "NOCTACT_CHECKSUM_LIMIT"
# The executor plugin makes the folder before it submits its first job here.
USED_SLURM = Path(".snakemake", "slurm_logs")


# A second or two each: waiting in a queue would take longer.
localrules:
    split,
    survey,
    report,


# Nodes of a cluster often can't reach the internet.
if config["source"] == "kaggle":

    localrules:
        acquire,


def tell_jobs():
    """Hand down to the jobs what only the call knows."""
    os.environ[CHECKSUM_LIMIT] = str(workflow.persistence.max_checksum_file_size)


def on_slurm():
    """Whether the jobs go to SLURM."""
    return (
        type(workflow.executor_settings).__module__ == "snakemake_executor_plugin_slurm"
    )


def keep_lock():
    """Jobs go on when this call is killed, where SLURM can't be asked for them: the lock must stay."""
    if NOTE:
        drop(NOTE)


def cluster_jobs():
    """The jobs that are submitted, or would be in a dry run; those of one group are one."""
    dag = workflow.dag
    return {
        dag.get_job_group(job) or job
        for job in dag.needrun_jobs(exclude_finished=False)
        if job.rule.group
        or not (job.rule.norun or job.rule.name in workflow._localrules)
    }


def label(job):
    """A job of the cluster by its rule, or by the model and seed of its training."""
    return f"model {job.groupid}" if job.is_group() else job.rule.name


def tell_cluster_jobs():
    """After a dry run: print how many jobs an executor for clusters would submit, if none fails."""
    if workflow.scheduler is None or not workflow.dryrun:
        return
    # What a dry run still knows of that executor is that its jobs are not processes of its own.
    if workflow.use_threads:
        kinds = Counter(label(job).split()[0] for job in cluster_jobs())
        parts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        print(f"Cluster jobs (sbatch calls): {kinds.total()} ({parts or 'none'})")
        with suppress(NoctactError):
            if USED_SLURM.exists() and shutil.which("squeue") and jobs_here(Path.cwd()):
                print(
                    "Jobs of an earlier call are at work: a real one waits for them first."
                )


def demand_of(job):
    """What `job` asks for, in the partition that the executor plugin chooses."""
    partition = workflow.scheduler._executor.get_partition_arg(job)
    return Demand(
        partition.removeprefix(" -p "),
        job.threads,
        job.resources.mem_mb,
        job.resources.runtime,
        bool(job.resources.get("gpu")),
    )


def refusal_of(job, asked):
    """Why SLURM would not take `job`, in its own words, or those of the plugin for an account that
    there is not; empty when it would. `asked` keeps the answers: many jobs ask for the same.
    """
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    executor = workflow.scheduler._executor
    try:
        facts = {
            "run_uuid": "noctact",
            "slurm_logfile": os.devnull,
            "comment_str": "test",
            "account": next(executor.get_account_arg(job)),
            "partition": executor.get_partition_arg(job),
            "workdir": os.getcwd(),
        }
    except (WorkflowError, OSError) as error:  # OSError: no sacct to ask for accounts
        return " ".join(str(error).split())
    call = get_submit_command(job, facts, workflow.executor_settings)
    call += set_gres_string(job)
    if call not in asked:
        asked[call] = would_take(call)
    return asked[call]


def must_be_taken():
    """Ask SLURM whether it would take each kind of job, before the first one runs. Raises
    WorkflowError that says what to edit; only prints what may be another tomorrow.
    """
    if not shutil.which("sbatch"):
        raise WorkflowError(
            "sbatch is not on the path: log in to a machine of the cluster that has it (or load its"
            " module), or leave out --profile to run on this machine"
        )
    asked, refused = {}, defaultdict(dict)
    # The plugin would tell of its choices once here, and once more when it submits.
    logging.disable(logging.INFO)
    try:
        for job in sorted(cluster_jobs(), key=label):
            if refusal := refusal_of(job, asked):
                demand = demand_of(job)
                reason = refusal, what_to_edit(refusal, demand)
                # A dict for an ordered set: the jobs of one rule are listed once.
                refused[reason][f"{label(job)} ({demand})"] = True
    except NoctactError as error:
        raise WorkflowError(str(error)) from None
    finally:
        logging.disable(logging.NOTSET)
    lines = [
        f"{refusal}; {edit or 'submitted all the same'}. Asked for by {', '.join(jobs)}"
        for (refusal, edit), jobs in refused.items()
    ]
    if any(edit for _, edit in refused):
        raise WorkflowError("SLURM would not take the jobs:", *lines)
    for line in lines:
        print(f"SLURM would not take a job now: {line}", file=sys.stderr)


def show_failures():
    """Print the last words of each failed job, and where there are more."""
    for job in workflow.scheduler.failed:
        if job.is_group():
            place, logs = f"group_{job.name}", [
                file for part in job for file in part.log
            ]
        else:
            place, logs = Path(f"rule_{job.name}", *job.wildcards), job.log
        said = newest(map(Path, logs))
        by_slurm = newest((USED_SLURM / place).glob("*.log"))
        print(f"\n{label(job)} failed")
        print(*last_words(said, by_slurm), sep="\n", flush=True)


@functools.cache
def wait_for_earlier_jobs():
    """Before this call looks at what there is: wait for the jobs that an earlier one in this folder
    has submitted to SLURM, and not seen the end of.

    Not where another call is at work here: Snakemake refuses this one.
    """
    looks_only = workflow.executor_plugin is None or workflow.dryrun or workflow.touch
    if not workflow.is_main_process or looks_only:
        return
    locked = any(Path(".snakemake", "locks").glob("*.lock"))
    if USED_SLURM.exists() and not locked:
        try:
            wait_for_jobs_here(Path.cwd())
        except NoctactError as error:
            raise WorkflowError(str(error)) from None
        except KeyboardInterrupt:
            raise WorkflowError("Waits no more; the jobs go on.") from None


def record():
    """Record what the job of this process was made from, as the call that submitted it does; if
    that was killed, the next one would not know.
    """
    if workflow.scheduler is None or not workflow.local_exec:
        return  # an error has come before, or of the two processes of a job this is the outer one
    workflow.workflow_settings.exec_mode = ExecMode.DEFAULT
    limit = os.environ.get(CHECKSUM_LIMIT, "")
    if limit.isdecimal():
        workflow.persistence.max_checksum_file_size = int(limit)
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        if workflow.dag.finished(job):
            # Snakemake's own event loop is closed by now.
            asyncio.run(workflow.persistence.finished(job))


if workflow.remote_exec:
    atexit.register(record)
elif workflow.is_main_process:
    atexit.register(tell_cluster_jobs)
