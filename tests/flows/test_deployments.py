"""Deployments on a real server, run by a real worker from a foreign folder; and what of deployments/ a machine without Docker can check."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.error
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from cefm_core.errors import ConfigurationError
from cefm_core.phantoms.dataset import write_phantom_dataset
from flows import server
from storage.store import Store
from tasks.context import RunContext
from tests.flows.services import ROOT, ask_prefect, prefect_environment

FLOWS = {
    "full_run", "prepare_dataset", "train_alignment", "evaluate_alignment", "write_reports", "train_segmentation", "train_encoder",
}  # fmt: skip
DEPLOYMENTS = ROOT / "deployments"


def prefect(*arguments, cwd=ROOT, **variables):
    """Run the ``prefect`` command against the session's server."""
    command = [sys.executable, "-m", "prefect", *map(str, arguments)]
    answer = subprocess.run(
        command, env=prefect_environment() | variables, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    return answer.stdout


@pytest.fixture(scope="module")
def deployed():
    """All deployments of prefect.yaml, as the server knows them."""
    prefect("work-pool", "create", "cpu", "--type", "process")
    prefect("--no-prompt", "deploy", "--all")
    return ask_prefect("/deployments/filter", {})


@pytest.mark.flow
def test_every_flow_has_one_deployment(deployed):
    flows = {flow["id"]: flow["name"] for flow in ask_prefect("/flows/filter", {})}
    assert sorted(flows[deployment["flow_id"]] for deployment in deployed) == sorted(FLOWS)
    for deployment in deployed:
        assert deployment["description"]
        assert deployment["work_pool_name"] == "cpu"
        # Without it every run of more than 45 s would be taken for crashed by the automations.
        assert deployment["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"


@pytest.mark.flow
def test_no_deployment_holds_a_path_of_this_machine(deployed):
    for deployment in deployed:
        assert not deployment["pull_steps"]
        assert deployment["path"] in (None, "", ".")
        text = json.dumps(deployment)
        assert str(ROOT) not in text and str(Path.home()) not in text
        assert re.fullmatch(r"flows(\.\w+){2}", deployment["entrypoint"])


@pytest.mark.flow
def test_parameters_are_described(deployed):
    full_run = next(deployment for deployment in deployed if deployment["entrypoint"] == "flows.full_run.full_run")
    fields = full_run["parameter_openapi_schema"]["definitions"]["RunContext"]["properties"]
    assert {"store", "source", "metadata", "config", "refresh"} <= fields.keys()
    assert all(field.get("description") for field in fields.values())


@pytest.mark.flow
def test_the_nightly_schedule_names_its_zone_and_takes_its_places_from_where_it_is_deployed(deployed, tmp_path):
    def schedule():
        found = next(deployment for deployment in ask_prefect("/deployments/filter", {}) if deployment["name"] == "full-run")["schedules"]
        assert [(one["schedule"]["cron"], one["schedule"]["timezone"], one["active"]) for one in found] == [
            ("0 3 * * *", "Europe/Berlin", False)
        ]
        return found[0]["parameters"]["context"]

    with pytest.raises(ConfigurationError, match="empty address"):  # it cannot be switched on by mistake
        RunContext.model_validate(schedule())
    places = {"CEFM_STORE": (tmp_path / "store").as_uri(), "CEFM_SOURCE": (tmp_path / "source").as_uri()}
    prefect("--no-prompt", "deploy", "--name", "full-run", **places)
    context = RunContext.model_validate(schedule())
    assert (context.store, context.source, context.metadata) == (*places.values(), ())


def test_the_nightly_schedule_runs_once_every_day_also_when_the_clocks_change():
    from prefect.server.schemas.schedules import CronSchedule

    stated = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"][0]["schedules"][0]
    zone = ZoneInfo(stated["timezone"])
    moments = asyncio.run(
        CronSchedule(cron=stated["cron"], timezone=stated["timezone"]).get_dates(400, start=datetime(2027, 1, 1, tzinfo=zone))
    )
    local = [moment.astimezone(zone) for moment in moments]
    assert {(moment.hour, moment.minute) for moment in local} == {(3, 0)}
    assert [moment.date() for moment in local] == [date(2027, 1, 1) + timedelta(days=days) for days in range(400)]


@pytest.mark.flow
@pytest.mark.parametrize(
    "large",
    [{"config": {"runtime": {"shard_size": 10**40}}}, {"metadata": [f"table-{number}.csv" for number in range(20_000)]}, {"ids": ["a"]}],
)
def test_the_server_refuses_a_run_with_large_parameters(deployed, large):
    full_run = next(deployment for deployment in deployed if deployment["name"] == "full-run")
    context = {"store": "s3://derm/store", "source": "s3://derm/images"} | large
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask_prefect(f"/deployments/{full_run['id']}/create_flow_run", {"parameters": {"context": context}})
    assert refused.value.code == 409
    assert isinstance(ask_prefect("/flow_runs/filter", {}), list)  # a number too large for it would break every listing


@pytest.mark.flow
def test_the_server_takes_the_gpu_pool_and_the_automations(deployed):
    template = json.loads((DEPLOYMENTS / "kubernetes-gpu.json").read_text())
    assert ask_prefect("/work_pools/", {"name": "gpu", "type": "kubernetes", "base_job_template": template})["name"] == "gpu"
    for automation in yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]:
        assert ask_prefect("/automations/", automation)["enabled"]


@pytest.mark.flow
def test_a_worker_in_a_foreign_folder_runs_one_to_completion(deployed, tmp_path):
    source, foreign = tmp_path / "source", tmp_path / "foreign"
    foreign.mkdir()
    write_phantom_dataset(source, 8, 7)
    context = {
        "store": str(tmp_path / "store"),
        "source": str(source),
        "metadata": str(source / "metadata.csv"),
        "config": {"refine": {"refiner": "none"}, "runtime": {"shard_size": 4}},
    }
    prepare = next(deployment for deployment in deployed if deployment["name"] == "prepare-dataset")
    run = ask_prefect(f"/deployments/{prepare['id']}/create_flow_run", {"parameters": {"context": context}})
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "cpu", "--run-once"],
            env=prefect_environment(), cwd=foreign, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while (state := ask_prefect(f"/flow_runs/{run['id']}")["state"])["type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()[-3000:]
                time.sleep(1)
        finally:
            worker.terminate()
            worker.wait(30)
    assert state["type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    store = Store.open(str(tmp_path / "store"))
    assert {key.split("/")[1] for key in store.keys_below("tables")} >= {"manifest", "coarse_masks", "refined_masks", "abc_features"}
    tasks = ask_prefect("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run["id"]]}}})
    labels = [task["name"] for task in tasks]
    for stage in ("build_manifest", "assess_images", "segment_coarse", "refine_masks", "measure_abc"):
        assert any(label.startswith(f"{stage}: shard 1 of 2") for label in labels), labels
    assert "check manifest" in labels
    assert list(foreign.iterdir()) == []


def documents():
    return sorted([*DEPLOYMENTS.rglob("*.yaml"), *DEPLOYMENTS.rglob("*.yml"), ROOT / "prefect.yaml"])


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_yaml_is_whole(path):
    assert all(document for document in yaml.safe_load_all(path.read_text()))


def images():
    """Every image that is named: by compose, by the job template and in the Dockerfiles."""
    compose = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    named = [service["image"] for service in compose["services"].values() if "image" in service]
    for dockerfile in DEPLOYMENTS.glob("Dockerfile*"):
        named += re.findall(r"(?m)^FROM (\S+)", dockerfile.read_text())
    template = json.loads((DEPLOYMENTS / "kubernetes-gpu.json").read_text())
    return [*named, template["variables"]["properties"]["image"]["default"]]


def test_every_image_has_a_fixed_tag():
    assert len(images()) >= 6
    for image in images():
        assert re.search(r":[\w.-]+$", image), image
        assert not image.endswith(":latest")


def test_no_secret_is_written_down():
    for path in DEPLOYMENTS.rglob("*"):
        if path.is_file():
            for name, value in re.findall(r"(?m)^\s*(\w*(?:PASSWORD|SECRET|TOKEN|API_KEY|ACCESS_KEY_ID))\s*[:=]\s*(.+)$", path.read_text()):
                assert value.startswith("${"), f"{path.name}: {name}"
            assert not re.search(r"://[^/\s:]+:[^@$\s]+@", path.read_text()), path.name


def test_compose_has_the_services_and_binds_to_loopback():
    compose = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
    assert compose["services"].keys() >= {"postgres", "prefect-server", "object-store", "worker", "report-site"}
    volumes, services = compose["volumes"], compose["services"]
    for name, service in services.items():
        assert "image" in service or "build" in service, name
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert set(service.get("depends_on", ())) <= services.keys(), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in volumes or source.startswith("${") or (DEPLOYMENTS / source).exists(), f"{name}: {volume}"
        build = service.get("build")
        if build:
            assert (DEPLOYMENTS / build["context"] / build["dockerfile"]).exists(), name


def test_dockerfiles_copy_what_exists():
    for dockerfile in DEPLOYMENTS.glob("Dockerfile*"):
        for sources in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", dockerfile.read_text()):
            assert all((ROOT / source).exists() for source in sources.split()), f"{dockerfile.name}: {sources}"
        assert re.search(r"(?m)^USER (?!root)", dockerfile.read_text()), dockerfile.name


def test_settings_turn_reporting_off_and_are_known_to_prefect():
    lines = (DEPLOYMENTS / "environment.txt").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert settings["DO_NOT_TRACK"] == "1"
    # A server of one's own and a deployed one are told the same, but for what only concerns a command's console.
    assert {name: value for name, value in server.SETTINGS.items() if "LOGGING" not in name}.items() <= settings.items()
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    known = _get_settings_fields(Settings).keys()
    assert [name for name in settings if name.startswith("PREFECT_") and name not in known] == []


def test_kubernetes_jobs_ask_for_one_gpu():
    template = json.loads((DEPLOYMENTS / "kubernetes-gpu.json").read_text())
    job = template["job_configuration"]["job_manifest"]
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    variables = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", json.dumps(template["job_configuration"])))
    assert variables <= template["variables"]["properties"].keys()


def test_automations_fit_the_servers_schema():
    from prefect.automations import AutomationCore

    found = yaml.safe_load((DEPLOYMENTS / "automations.yaml").read_text())["automations"]
    names = [AutomationCore.model_validate(automation).name for automation in found]
    assert len(names) == len(set(names)) >= 2


def test_every_page_of_the_runbook_says_what_is_seen_and_what_to_do():
    pages = (DEPLOYMENTS / "runbook.md").read_text().split("\n## ")[1:]
    assert len(pages) >= 8
    for page in pages:
        assert "**Seen:**" in page and "**Do:**" in page, page.splitlines()[0]
