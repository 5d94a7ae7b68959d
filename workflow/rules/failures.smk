# What is said where a run stops: for each failed job its reason, in a line, and where its log is.
# Tracebacks stay in the logs.
import logging
import shutil

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from needlework import stored
from needlework.command import SPARE_BYTES, failure_of


class FailedJobs(logging.Handler):
    """The failed jobs of this run that no later try has finished: their rules and logs."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.jobs = {}

    def emit(self, record):
        """Note a failure; forget it where the job succeeds after all."""
        event = getattr(record, "event", None)
        if event is LogEvent.JOB_ERROR:
            self.jobs[record.jobid] = (record.rule_name, record.log)
        elif event is LogEvent.JOB_FINISHED:
            self.jobs.pop(record.job_id, None)


def reasons(jobs):
    """A paragraph for each reason why jobs failed, and one for a full disk."""
    logs_of = {}
    for rule_name, logs in jobs:
        log = str(logs[0]).removesuffix(" (check log file(s) for error details)")
        logs_of.setdefault((rule_name, failure_of(Path(log))), []).append(log)
    for (rule_name, reason), logs in logs_of.items():
        more = f" and {len(logs) - 1} more" if len(logs) > 1 else ""
        yield f"{rule_name}: {reason}\n  log: {logs[0]}{more}"
    ahead, seconds = stored.from_the_future(Path("results") / study.name)
    if ahead:
        yield (
            f"{len(ahead)} files are from the future (by {seconds:,.0f} s), such as {ahead[0]}: a "
            "clock was set back. Mend their times: python scripts/check_results.py --results "
            f"results/{study.name} --set-back"
        )
    if (free := shutil.disk_usage(".").free) < SPARE_BYTES:
        yield (
            f"The disk is full: {free:,} bytes are left in {Path().resolve()}. Free some room; "
            "logs may lack their last lines."
        )


failed_jobs = FailedJobs()
if workflow.is_main_process:
    logger.addHandler(failed_jobs)
    # On a full disk Snakemake's log would answer each line with a traceback of its own.
    logging.raiseExceptions = False


onerror:
    print("\nWhy it stopped:\n", file=sys.stderr)
    for paragraph in reasons(failed_jobs.jobs.values()):
        print(paragraph, end="\n\n", file=sys.stderr)
    print(
        "What is finished is kept. Once this is mended, the same command goes on.",
        file=sys.stderr,
    )
