"""The files for containers and the proxy: every name in them exists. Nothing here starts a container."""

import re
import shutil
import subprocess

import pytest
import yaml

from orchestrator_site.cluster import proxy_settings
from tests.tree import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
NGINX = (ROOT / "deploy/nginx.conf").read_text()
OURS = ["migrate", "web-1", "web-2", "worker-1", "worker-2"]


def test_everything_is_there():
    assert set(SERVICES) == {*OURS, "nginx", "postgres", "rabbitmq", "redis"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_names_what_exists(name):
    service = SERVICES[name]

    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]
    assert service["image"].partition(":")[2] or service["image"] == "orchestrator"


@pytest.mark.parametrize("name", OURS)
def test_a_process_of_ours_runs_a_command_of_ours_and_has_no_rights(name):
    service = SERVICES[name]

    command = service["command"][0]
    assert command == "migrate" or (ROOT / f"workflows/management/commands/{command}.py").is_file()
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "healthcheck" in service or name == "migrate"
    if name != "migrate":
        assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        # A web process that waits for the broker could not start while the broker is away.
        assert "rabbitmq" not in service["depends_on"]


def test_the_site_reads_every_setting_that_it_is_given():
    read = (ROOT / "orchestrator_site/settings.py").read_text()

    for name in SERVICES["web-1"]["environment"]:
        assert f'"{name}"' in read, name


def test_no_secret_is_written_down_and_each_is_asked_for():
    text = (ROOT / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )

    assert asked == {"SECRET_KEY", "POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "REDIS_PASSWORD"}
    assert all(example[name] == "" for name in asked)
    assert set(re.findall(r"\$\{(\w+)", text)) == set(example)


def test_only_the_proxy_can_be_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert [name for name, service in SERVICES.items() if "front" in service["networks"]] == ["nginx"]


def test_the_image_holds_what_the_site_is_made_of_and_runs_without_root():
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    for name in " ".join(copied).split():
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    for name in ("manage.py", "orchestrator_site", "workflows", "tasks_ui", "templates", "static"):
        assert name in copied
    assert "--require-hashes" in DOCKERFILE
    assert re.search(r"^USER orchestrator$", DOCKERFILE, flags=re.MULTILINE)
    assert DOCKERFILE.index("USER orchestrator") < DOCKERFILE.index("ENTRYPOINT")


def test_the_proxy_knows_the_web_processes():
    assert re.findall(r"^\s*server (\S+?):8000 ", NGINX, flags=re.MULTILINE) == ["web-1", "web-2"]
    assert "listen 8080;" in NGINX
    assert SERVICES["nginx"]["ports"] == ["${LISTEN:-127.0.0.1:8080}:8080"]


def test_the_proxys_settings_for_one_machine_name_its_addresses_and_places(tmp_path):
    own = proxy_settings(NGINX, 8123, [9001, 9002, 9003], tmp_path)

    assert re.findall(r"server (127\S+)", own) == ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]
    assert "listen 127.0.0.1:8123;" in own
    assert "web-1" not in own
    assert not re.search(r"\s/tmp/(?!.*" + re.escape(tmp_path.name) + ")", own)


def test_nginx_understands_its_settings(tmp_path):
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed; what it serves is tested where it is")
    path = tmp_path / "nginx.conf"
    path.write_text(proxy_settings(NGINX, 8123, [9001], tmp_path))

    checked = subprocess.run(
        [nginx, "-t", "-p", str(tmp_path), "-c", str(path)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
