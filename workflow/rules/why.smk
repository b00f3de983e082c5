# `make why`: what would run, a line a job, with the change that asks for it.

import asyncio
import atexit
import logging

from noctact.changes import describe


def shortened(files):
    """The first of `files`, and how many more there are."""
    first, *more = sorted(map(str, files))
    return f"{first} and {len(more)} more" if more else first


def address(file):
    """The name of an input in Snakemake's records."""
    return file.storage_object.query if file.is_storage else str(file)


def causes(job):
    """What asks for `job` itself, not counting the jobs before it."""
    reason, records = workflow.dag.reason(job), workflow.persistence
    if reason.forced and not DAMAGED.isdisjoint(job.output):
        yield "damaged after it was written"
    elif reason.forced:
        # At exit, when Snakemake's own event loop is closed.
        cut_off = asyncio.run(records.incomplete(job))
        yield "was cut off before its end" if cut_off else "forced"
    if reason.missing_output:
        made = any(records.metadata(file) for file in reason.missing_output)
        yield f"missing: {shortened(reason.missing_output)}" if made else "not made yet"
    if reason.updated_input or reason.input_changed:
        before = set(records.input(job.output[0]) or ())
        now = set(map(address, job.input))
        changed = before.intersection(map(address, reason.updated_input))
        kinds = {"new": now - before, "gone": before - now, "changed": changed}
        yield from (
            f"{kind}: {shortened(files)}" for kind, files in kinds.items() if files
        )
    if reason.params_changed:
        yield describe(reason.params_changed.only_old, reason.params_changed.only_new)
    if reason.code_changed:
        yield "its command line in workflow/rules/"
    if reason.software_stack_changed:
        yield "its software environment"


def name_of(job):
    """Rule and wildcards."""
    return " ".join([job.rule.name, *job.wildcards])


def explain():
    """Print what would run, and why: its own causes, or the jobs before it that have some."""
    if workflow.scheduler is None:
        return  # an error has come before
    owed = set(workflow.dag.needrun_jobs(exclude_finished=False))
    origins = {}
    for level in workflow.dag.toposorted():
        for job in sorted(owed.intersection(level), key=name_of):
            own = list(causes(job))
            before = owed.intersection(workflow.dag.dependencies[job])
            inherited = {name for each in before for name in origins[each]}
            origins[job] = {name_of(job)} if own else inherited
            if job.rule.name != "all":
                follows = f"follows {shortened(inherited)}" if inherited else ""
                why = "; ".join(own) or follows or str(workflow.dag.reason(job))
                print(f"{name_of(job):<24}", why)
    if not owed:
        print("Nothing to do.")


if "NOCTACT_WHY" in os.environ and workflow.is_main_process:
    # What Snakemake tells of a dry run, but for errors: `--quiet all` leaves much of it.
    logging.getLogger("snakemake.logging").setLevel(logging.ERROR)
    # When the dry run is over: Snakemake has no hook there.
    atexit.register(explain)
