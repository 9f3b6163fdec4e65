"""What cannot be started here is at least read: files parse, and every name in them is one that exists."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from ocs.runtime.config_file import load
from ocs.runtime.ivr_door import CALL_VARIABLE, IvrCounts
from ocs.runtime.metrics import Metrics
from switch_adapters.freeswitch.config import Offer

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
CONF = DOCKER / "freeswitch" / "conf"


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))


COMPOSE = read_yaml("compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVICE_KEYS = {
    "image", "build", "init", "read_only", "cap_drop", "security_opt", "tmpfs", "environment", "secrets",
    "volumes", "command", "healthcheck", "depends_on", "restart", "stop_grace_period", "ports", "shm_size",
}  # fmt: skip


# --- compose ------------------------------------------------------------------------------------


def test_compose_uses_only_keys_that_its_schema_has() -> None:
    assert set(COMPOSE) - {"x-ocs"} == {"name", "services", "secrets", "volumes"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= {"test", "interval", "timeout", "retries", "disable"}, (
            name
        )


def test_compose_refers_only_to_what_it_defines() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        depends = service.get("depends_on", ())
        assert set(depends) <= set(SERVICES), name
        for other in depends if isinstance(depends, dict) else ():
            if depends[other]["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"], f"{name} waits for {other}"
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), mount
            else:
                assert source in COMPOSE["volumes"], mount


def test_only_sip_and_media_are_open_to_the_world() -> None:
    world = {
        port.partition("/")[0].rpartition(":")[2]
        for service in SERVICES.values()
        for port in service.get("ports", ())
        if not port.startswith("127.0.0.1:")
    }
    assert world == {"5060", "16384-16484"}


def test_secrets_are_made_by_the_script_and_ignored_by_git() -> None:
    made = re.search(r"for name in ([a-z_ ]+); do", (DOCKER / "secrets.sh").read_text())
    assert made is not None
    assert set(made[1].split()) == set(COMPOSE["secrets"])
    assert all(Path(secret["file"]).parts[0] == "secrets" for secret in COMPOSE["secrets"].values())
    assert "secrets/" in (DOCKER / ".gitignore").read_text().split()


def test_images_are_pinned_to_a_version() -> None:
    for name, service in SERVICES.items():
        if "build" not in service:
            assert re.search(r":v?\d+(\.\d+)*(-[a-z]+)?$", service["image"]), name


@pytest.mark.parametrize(
    "script", ["docker/secrets.sh", "ocs/sample/demo.sh", "ocs/sample/setup.sh", ".ci/run"]
)
def test_shell_scripts_parse_and_stop_at_the_first_error(script: str) -> None:
    path = ROOT / script
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert "set -euo pipefail" in path.read_text()
    assert path.stat().st_mode & 0o100


# --- the daemon's settings ----------------------------------------------------------------------


def test_the_daemons_settings_load_as_compose_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in COMPOSE["secrets"]:
        (tmp_path / name).write_text("a-secret-of-thirty-two-characters-or-more\n")
    path = tmp_path / "ocs.toml"
    path.write_text((DOCKER / "ocs.toml").read_text().replace("/run/secrets", str(tmp_path)))
    for name, value in SERVICES["ocs"]["environment"].items():
        if name.startswith("OCS__"):
            monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path)))
    settings = load(path)
    assert settings.database.full_url().password == "a-secret-of-thirty-two-characters-or-more"
    assert settings.freeswitch[0].host in SERVICES
    assert settings.daemon.http_listen.endswith(":8080")
    assert settings.freeswitch[0].config().rules[0].offer is Offer.IGNORE


def test_every_secret_that_the_settings_name_is_mounted() -> None:
    named = set(re.findall(r"/run/secrets/(\w+)", (DOCKER / "ocs.toml").read_text() + str(SERVICES["ocs"])))
    assert named == set(SERVICES["ocs"]["secrets"])
    named = set(re.findall(r"/run/secrets/(\w+)", (CONF / "freeswitch.xml").read_text()))
    assert named == set(SERVICES["freeswitch"]["secrets"])


# --- FreeSWITCH ---------------------------------------------------------------------------------


def xml(name: str) -> ElementTree.Element:
    return ElementTree.parse(CONF / name).getroot()


def contexts() -> dict[str, ElementTree.Element]:
    return {context.attrib["name"]: context for context in xml("dialplan.xml").iter("context")}


def profile_contexts() -> set[str]:
    """Contexts that SIP leads to: by a profile, or by the directory (also its commented example)."""
    entries = re.findall(r'name="user_context" value="(\w+)"', (CONF / "directory.xml").read_text())
    params = xml("freeswitch.xml").iter("param")
    profiles = {param.attrib["value"] for param in params if param.attrib["name"] == "context"}
    return profiles | set(entries)


def test_no_sip_caller_can_reach_the_context_of_authorised_calls() -> None:
    assert "authorised" in contexts()
    assert "authorised" not in profile_contexts()
    for name, context in contexts().items():
        for action in context.iter("action"):
            assert action.attrib["application"] not in ("transfer", "execute_extension"), name


def test_every_context_that_sip_leads_to_exists_and_is_charged() -> None:
    assert profile_contexts() <= set(contexts())
    for name in profile_contexts():
        for extension in contexts()[name].iter("extension"):
            bridges = any(action.attrib["application"] == "bridge" for action in extension.iter("action"))
            assert not bridges or extension.attrib["name"] == "emergency"


def test_parked_calls_end_by_themselves_when_nobody_answers() -> None:
    for extension in contexts()["customers"].iter("extension"):
        actions = [(a.attrib["application"], a.attrib.get("data", "")) for a in extension.iter("action")]
        if ("park", "") in actions:
            before = actions[: actions.index(("park", ""))]
            assert any(data.startswith("park_timeout=10:") for _, data in before)


def test_transfers_go_where_the_dial_plan_expects_them(tmp_path: Path) -> None:
    extension, plan, context = re.search(  # type: ignore[union-attr]
        r'^transfer = "(\S+) (\S+) (\S+)"', (DOCKER / "ocs.toml").read_text(), re.MULTILINE
    ).groups()
    assert (extension, plan, context) == ("{destination}", "XML", "authorised")
    out = next(contexts()["authorised"].iter("extension"))
    patterns = [
        c.attrib["expression"] for c in out.iter("condition") if c.attrib["field"] == "destination_number"
    ]
    assert re.fullmatch(patterns[0], "4930901820")


def test_callers_of_the_ivr_are_handed_over_and_are_no_business_of_the_other_door() -> None:
    (ivr,) = [e for e in contexts()["customers"].iter("extension") if e.attrib["name"] == "ivr"]
    actions = [(a.attrib["application"], a.attrib.get("data", "")) for a in ivr.iter("action")]
    names = [extension.attrib["name"] for extension in contexts()["customers"].iter("extension")]
    assert names.index("emergency") < names.index("ivr") < names.index("authorise")
    socket = actions.index(("socket", "ocs:8084 async full"))
    assert f"{CALL_VARIABLE}=true" in [data for _, data in actions[:socket]]
    assert actions[-1][0] == "hangup"
    assert 'listen = ["0.0.0.0:8084"]' in (DOCKER / "ocs.toml").read_text()
    assert not any("8084" in port for service in SERVICES.values() for port in service.get("ports", ()))


def test_the_modules_that_are_loaded_are_those_that_are_built() -> None:
    built = {line.partition("/")[2] for line in (DOCKER / "freeswitch" / "modules.conf").read_text().split()}
    assert {load.attrib["module"] for load in xml("freeswitch.xml").iter("load")} == built


def test_switch_records_go_to_the_daemon_with_the_switchs_own_secret() -> None:
    params = {p.attrib["name"]: p.attrib["value"] for p in xml("freeswitch.xml").iter("param")}
    name = re.search(r'^name = "(\w+)"', (DOCKER / "ocs.toml").read_text(), re.MULTILINE)
    assert name is not None
    assert params["url"] == f"http://ocs:8080/v1/freeswitch/{name[1]}/cdr"
    assert params["cred"] == f"{name[1]}:$${{cdr_secret}}"
    assert params["log-b-leg"] == "true"


def test_far_ends_that_vanish_do_not_stay_billable() -> None:
    params = {p.attrib["name"]: p.attrib["value"] for p in xml("freeswitch.xml").iter("param")}
    assert params["enable-timer"] == "true"
    for name, context in contexts().items():
        for extension in context.iter("extension"):
            data = [action.attrib.get("data", "") for action in extension.iter("action")]
            if any("gateway" in text for text in data) and extension.attrib["name"] != "emergency":
                assert "media_timeout=60000" in data, name


def test_ports_of_media_are_those_that_are_published() -> None:
    params = {p.attrib["name"]: p.attrib["value"] for p in xml("freeswitch.xml").iter("param")}
    span = f"{params['rtp-start-port']}-{params['rtp-end-port']}"
    assert f"{span}:{span}/udp" in SERVICES["freeswitch"]["ports"]


# --- Dockerfiles --------------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE))
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()
    ]


@pytest.mark.parametrize("name", ["Dockerfile", "freeswitch/Dockerfile"])
def test_images_run_as_nobody_in_particular_and_from_pinned_bases(name: str) -> None:
    steps = instructions(DOCKER / name)
    assert all(
        re.fullmatch(r"\S+:\S*bookworm\S*( AS build)?", text) for verb, text in steps if verb == "FROM"
    )
    assert [text for verb, text in steps if verb == "USER"][-1] not in ("root", "0")
    assert any(verb == "ENTRYPOINT" for verb, _ in steps)
    assert all(
        "--no-install-recommends" in text
        for verb, text in steps
        if verb == "RUN" and "apt-get install" in text
    )


def test_the_daemons_image_copies_what_exists_and_installs_by_hash() -> None:
    steps = instructions(DOCKER / "Dockerfile")
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().split()
    for verb, text in steps:
        if verb == "COPY" and not text.startswith("--from"):
            for source in shlex.split(text)[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in ignore
    assert any("--require-hashes" in text for verb, text in steps if verb == "RUN")
    assert any(verb == "HEALTHCHECK" and "/health" in text for verb, text in steps)


# --- systemd ------------------------------------------------------------------------------------


def test_the_unit_waits_for_ready_and_feeds_a_watchdog() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DOCKER / "ocs.service")
    service = unit["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "always")
    assert int(service["WatchdogSec"]) > 0
    assert service["ExecStart"].endswith("/ocs serve")


# --- Prometheus and Grafana ---------------------------------------------------------------------


OF_OTHERS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}


def all_metrics() -> Metrics:
    """The daemon's, and those of the IVR."""
    metrics = Metrics()
    IvrCounts(metrics)
    return metrics


def known_metrics() -> set[str]:
    """Names of samples that the daemon can show."""
    names: set[str] = set()
    for family in all_metrics().registry.collect():
        base = family.name
        names |= {
            "counter": {f"{base}_total"},
            "histogram": {f"{base}_bucket", f"{base}_count", f"{base}_sum"},
        }.get(family.type, {base})
    return names


def labels_of(name: str) -> set[str]:
    metrics = all_metrics()
    for collector in list(metrics.registry._collector_to_names):
        if name in metrics.registry._collector_to_names[collector] or any(
            name == f"{known}_bucket" for known in metrics.registry._collector_to_names[collector]
        ):
            return set(getattr(collector, "_labelnames", ())) | {"le", "job"}
    return {"job"}


def expressions() -> list[str]:
    board = json.loads((DOCKER / "grafana" / "dashboards" / "ocs.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return found + [rule["expr"] for group in read_yaml("alerts.yml")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_that_is_drawn_or_watched_exists(expression: str) -> None:
    names = set(re.findall(r"\b(?:ocs|process)_[a-z_]+\b|\bup\b", re.sub(r'"[^"]*"', "", expression)))
    assert names
    assert names - OF_OTHERS <= known_metrics()
    assert expression.count("(") == expression.count(")")
    for group in re.findall(r"by \(([a-z, ]+)\)", expression):
        (name,) = {n for n in names if n.startswith("ocs_")} or {""}
        assert set(group.replace(" ", "").split(",")) <= labels_of(name), expression


def test_panels_do_not_overlap_and_know_their_data_source() -> None:
    board = json.loads((DOCKER / "grafana" / "dashboards" / "ocs.json").read_text(encoding="utf-8"))
    (source,) = read_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_prometheus_asks_the_daemons_metrics_port() -> None:
    (job,) = read_yaml("prometheus.yml")["scrape_configs"]
    host, _, port = job["static_configs"][0]["targets"][0].partition(":")
    assert host in SERVICES
    assert f"OCS__DAEMON__METRICS_LISTEN=0.0.0.0:{port}" in (DOCKER / "Dockerfile").read_text()
    providers = read_yaml("grafana/provisioning/dashboards/ocs.yaml")["providers"]
    mounts = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert providers[0]["options"]["path"] in mounts
