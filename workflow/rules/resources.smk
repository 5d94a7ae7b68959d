# What a job takes from the machine it runs on, by kind of job, and which jobs run where Snakemake
# does. Names that are a cluster's own, of partitions or GPUs, stand in its profile.
import logging

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

# On a cluster, a job runs inside two more Snakemakes, and they count.
SNAKEMAKE_MB = 400

# Models and data are fetched where Snakemake runs: the nodes of a cluster may see no network.
if workflow.remote_exec:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")


def site(name):
    """What the profile's default-resources say of a cluster; nothing where there is none."""
    given = workflow.resource_settings.default_resources or {}
    return str(given[name].raw).strip("'\"") if name in given else None


def job(memory_mb, minutes, cpus=1, gpus=0):
    """The resources of a job: a try after a failed one has more memory and more time.

    CPUs are given beside `threads`, which Snakemake cuts to the cores of the machine it runs on.
    """
    given = dict(
        mem_mb=lambda wildcards, attempt: memory_mb * attempt + SNAKEMAKE_MB,
        runtime=lambda wildcards, attempt: minutes * attempt,
        cpus_per_task=cpus,
        gpu=gpus,
    )
    names = dict(
        gpu_model=site("gpu_type") if gpus else None,
        slurm_partition=site("gpu_partition" if gpus else "slurm_partition"),
    )
    return given | {key: name for key, name in names.items() if name}


def local_job(memory_mb):
    """A job that runs where Snakemake does, for it needs the network or a few seconds."""
    return {"mem_mb": memory_mb}


def table_job(memory_mb):
    """A job that reads results and writes a table."""
    return job(memory_mb, minutes=30)


def text_job():
    """A job that makes examples of text."""
    return job(4000, minutes=120, cpus=2)


def writing_job():
    """A job that asks a language model: the bundled one, or one behind an API."""
    if study.generator.base_url:
        return local_job(2000)
    return job(2000, minutes=480, cpus=study.compute.threads)


def training_job():
    """A job that tunes a model; a try after a failed one goes on from its checkpoint."""
    return job(
        study.compute.memory_mb,
        minutes=720,
        cpus=study.compute.threads,
        gpus=study.compute.gpus,
    )


def reading_job(minutes):
    """A job that has one model read examples; of those in a group, one runs at a time."""
    return job(
        study.compute.memory_mb,
        minutes,
        cpus=study.compute.threads,
        gpus=min(1, study.compute.gpus),
    ) | {"models": 1}


localrules:
    download_source,
    prepare_model,
    plan_generation,
    summarise_training,
    compute_depths,


if study.generator.base_url:

    localrules:
        rewrite_facts,
        write_documents,


if hosted:

    localrules:
        tune_hosted,
        predict_hosted,


class Requests(logging.Handler):
    """Has a dry run say what a job of each rule would ask a cluster for."""

    SHOWN = "slurm_partition gpu gpu_model cpus_per_task mem_mb runtime".split()

    def __init__(self):
        super().__init__(logging.INFO)
        self.said = set()

    def emit(self, record):
        """A line for the first job of a rule."""
        if not workflow.dryrun or getattr(record, "event", "") != LogEvent.JOB_INFO:
            return
        if record.resources.get("cpus_per_task") and record.rule_name not in self.said:
            self.said.add(record.rule_name)
            given = [f"{k}={v}" for k in self.SHOWN if (v := record.resources.get(k))]
            print(f"{record.rule_name} asks for {' '.join(given)}", file=sys.stderr)


if workflow.is_main_process and site("slurm_partition"):
    logger.addHandler(Requests())
