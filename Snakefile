# Six recurrent networks that classify human actions in night-time video, compared.
#
#     snakemake --cores 8                                      NoctACT-HAR in full
#     snakemake --cores 8 --configfile config/demo.yaml        generated clips, minutes
#     snakemake --cores 8 --config source=folder path=CLIPS run=mine
#     snakemake --profile workflow/profiles/slurm              on a cluster: docs/slurm.md
#
# Every key: config/README.md. What a run makes lies in results/<run>/.


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/acquire.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/extract.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/split.smk"
include: "workflow/rules/survey.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/why.smk"


rule all:
    default_target: True
    input:
        # Each single file, so that any that is missing is made again.
        lambda wildcards: wait_for_earlier_jobs() or list(everything()),


onstart:
    tell_jobs()
    if on_slurm():
        must_be_taken()
    elif not workflow.local_exec:
        keep_lock()


onerror:
    if on_slurm():
        show_failures()
    report_what_is_done()
