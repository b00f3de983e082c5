# On a cluster: what does not become a job there, what is looked at before the first one is sent,
# and what is said at the end.

import asyncio
import atexit
import logging
import shutil
from collections import Counter

from snakemake.settings.types import ExecMode

from noctact.calls import drop
from noctact.slurm import advice, last_words, newest, wait_for_jobs_here, would_take


# A second or two each: waiting in a queue would take longer.
localrules:
    audit,
    split,
    report,


# Nodes of a cluster often can't reach the internet.
if config["source"] == "kaggle":

    localrules:
        acquire,


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
    """Print how many jobs a call with an executor for clusters would submit, if none fails."""
    # What a dry run still knows of that executor is that its jobs are not processes of its own.
    if workflow.scheduler is not None and workflow.use_threads:
        kinds = Counter(label(job).split()[0] for job in cluster_jobs())
        parts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        print(f"Cluster jobs (sbatch calls): {kinds.total()} ({parts or 'none'})")


def partition_of(job):
    """The partition that the executor plugin chooses for `job`."""
    return workflow.scheduler._executor.get_partition_arg(job)


def sbatch(job):
    """The command that submits `job`, without what it runs, as the executor plugin builds it.
    Raises WorkflowError for an account that there is not.
    """
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    facts = {
        "run_uuid": "noctact",
        "slurm_logfile": os.devnull,
        "comment_str": "test",
        "account": next(workflow.scheduler._executor.get_account_arg(job)),
        "partition": partition_of(job),
        "workdir": os.getcwd(),
    }
    call = get_submit_command(job, facts, workflow.executor_settings)
    return call + set_gres_string(job)


def demand_of(job):
    """A job, and what it asks for, in words."""
    words = [
        f"partition {partition_of(job).removeprefix(' -p ') or '(default)'}",
        f"{job.threads} CPUs",
        f"{job.resources.mem_mb} MB",
        f"{job.resources.runtime} min",
        *(["a GPU"] if job.resources.get("gpu") else []),
    ]
    return f"{label(job)} ({', '.join(words)})"


def must_be_taken():
    """Ask SLURM whether it would take each kind of job, before the first one runs. Raises
    WorkflowError that says what to edit.
    """
    if not shutil.which("sbatch"):
        raise WorkflowError(
            "sbatch is not on the path: log in to a machine of the cluster that has it (or load its"
            " module), or leave out --profile to run on this machine"
        )
    # The plugin would tell of its choices once here, and once more when it submits.
    logging.disable(logging.INFO)
    answers, refused = {}, defaultdict(dict)
    for job in sorted(cluster_jobs(), key=label):
        try:
            call = sbatch(job)
            if call not in answers:
                answers[call] = would_take(call)
            refusal = answers[call]
        except WorkflowError as error:
            refusal = " ".join(str(error).split())
        if refusal:
            what_to_edit = advice(refusal, gpu=bool(job.resources.get("gpu")))
            # A dict for an ordered set: the jobs of one rule are listed once.
            refused[f"{refusal}; {what_to_edit}"][demand_of(job)] = True
    logging.disable(logging.NOTSET)
    if refused:
        reasons = (
            f"{why}. Asked for by {', '.join(jobs)}" for why, jobs in refused.items()
        )
        raise WorkflowError("SLURM would not take the jobs:", *reasons)


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
        by_slurm = newest(Path(".snakemake", "slurm_logs", place).glob("*.log"))
        print(f"\n{label(job)} failed")
        print(*last_words(said, by_slurm), sep="\n", flush=True)


def jobs_may_be_left():
    """Whether an earlier call in this folder has submitted jobs to SLURM and not seen the end of
    all, and no other call is at work here.
    """
    state = Path(".snakemake")
    return (
        any(state.glob("slurm_logs/**/*.log"))
        and any(state.glob("incomplete/*"))
        and not any(state.glob("locks/*.lock"))
    )


def record():
    """Record what the job of this process was made from, as the call that submitted it does; if
    that was killed, the next one would not know.
    """
    if workflow.scheduler is None or not workflow.local_exec:
        return  # an error has come before, or of the two processes of a job this is the outer one
    workflow.workflow_settings.exec_mode = ExecMode.DEFAULT
    for job in workflow.dag.needrun_jobs(exclude_finished=False):
        if workflow.dag.finished(job):
            # Snakemake's own event loop is closed by now.
            asyncio.run(workflow.persistence.finished(job))


if workflow.remote_exec:
    atexit.register(record)
elif workflow.is_main_process:
    if workflow.output_settings.dryrun:
        atexit.register(tell_cluster_jobs)
    elif NOTE and jobs_may_be_left():
        wait_for_jobs_here(Path.cwd())
