"""full_run: the whole chain in order, its publication, its report site and its summary."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.settings import temporary_settings

from flows.evaluate_alignment import evaluate_alignment
from flows.gate import gates_markdown
from flows.lineage import commit
from flows.plan import RunPlan, plan_markdown, plan_run
from flows.preflight import preflight
from flows.prepare_dataset import prepare_dataset
from flows.redraw import beside_the_run_page, site_of
from flows.run_name import rename_run
from flows.stage_run import FlowResult
from flows.summary import RunSummary, stages_of_version, summarise, summary_markdown
from flows.train_alignment import train_alignment
from flows.write_reports import write_reports
from storage import keys
from storage.backends import object_url
from storage.versions import latest_number, publish, record_run
from tasks.context import RunContext
from tasks.publish_site import publish_site
from tasks.rows import collect_rejects

# The flows it calls live and die with it: its own heartbeat is enough, and each of theirs would hold it up for a second at its end.
_CALLED = {"flows.heartbeat_frequency": None}


@flow(name="full_run", flow_run_name="full_run {context.title}")
def full_run(context: RunContext, dry_run: bool = False) -> RunSummary | RunPlan:
    """Run every stage on a source, publish the outputs as one version and draw the report site.

    Args:
        context: Where the images and the store are, and how the run is set.
        dry_run: Only say what would run, on how many images, and why; nothing is computed and nothing published.
    """
    preflight(context)
    if dry_run:
        return _dry_run(context)
    store = context.open_store()
    base = latest_number(store)
    with temporary_settings(_CALLED):
        result: FlowResult = prepare_dataset(context)
        result.take(train_alignment(context, result.outputs))
        result.take(evaluate_alignment(context, result.outputs, result.facts["model_kept"]))
        result.take(write_reports(context, result.outputs))
    result.outputs["rejects"] = collect_rejects.submit(context, result.rejects).result()
    version = publish(store, base, context.run_id, result.outputs, context.source)
    result.facts |= {"version": version, "commit": commit(), "links": beside_the_run_page(context, result.gates, base, version)}
    said = site_of(result)
    site = publish_site.submit(context, result.outputs, said["stages"], said["gates"], said["facts"]).result()
    summary = summarise(context, result, version, site, stages_of_version(store, base))
    rename_run(f"full_run {context.title}: version {version}")
    record = {"commit": commit(), "context": context.model_dump(mode="json"), "site": said}
    record_run(store, context.run_id, summary.model_dump(mode="json") | record)
    create_markdown_artifact(summary_markdown(summary), key="run-summary", description=f"Run {context.title}")
    create_markdown_artifact(
        gates_markdown(result.gates, object_url(context.store, keys.run_key(context.run_id, "gates.html"))), key="gates"
    )
    create_link_artifact(summary.report_url, key="report-site", link_text="Report site")
    return summary


def _dry_run(context: RunContext) -> RunPlan:
    plan = plan_run(context)
    create_markdown_artifact(plan_markdown(plan), key="run-plan", description=f"Dry run {context.title}")
    rename_run(f"full_run {context.title}: dry run, {sum(stage.missing for stage in plan.stages)} items to do")
    return plan
