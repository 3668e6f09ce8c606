"""docker-compose.yml, the Dockerfile and the proxy's configuration say what holds."""

from __future__ import annotations

import re

import pytest

from ingest.settings import Settings
from tests.support.compose import ROOT, VariableMissing, checked, compose_file, interpolated

SECRETS = {"TRACKER_API_KEY": "key", "POSTGRES_PASSWORD": "one", "S3_SECRET_KEY": "two"}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_compose_file_keeps_to_the_specification() -> None:
    services = compose_file(SECRETS)["services"]

    assert set(services) == {"postgres", "s3", "server-1", "server-2", "proxy"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("healthcheck:", "helthcheck:"), ("interval: 5s", "interval: often"),
     ("condition: service_healthy", "condition: fine"), ("image: nginx", "imag: nginx")],
)  # fmt: skip
def test_the_check_of_the_compose_file_can_fail(right: str, wrong: str) -> None:
    text = interpolated((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), SECRETS)

    with pytest.raises(ValueError):  # noqa: PT011  # the checker's own words
        checked(text.replace(right, wrong))


@pytest.mark.parametrize("missing", SECRETS)
def test_no_secret_has_a_default(missing: str) -> None:
    with pytest.raises(VariableMissing, match=missing):
        compose_file({name: text for name, text in SECRETS.items() if name != missing})


def test_every_setting_in_the_compose_file_and_the_image_is_one() -> None:
    known = {f"TRACKER_{name.upper()}" for name in Settings.model_fields}
    services = compose_file(SECRETS)["services"]
    used = {name for service in services.values() for name in service.get("environment", ())}
    used |= set(re.findall(r"(TRACKER_\w+)=", DOCKERFILE))

    ours = {name for name in used if name.startswith("TRACKER_")}
    assert ours
    assert ours - known == set()


def test_the_servers_are_alike_and_reachable_only_through_the_proxy() -> None:
    services = compose_file(SECRETS)["services"]

    assert services["server-1"] == services["server-2"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]


def test_servers_wait_for_stores_that_are_healthy_and_images_are_pinned() -> None:
    services = compose_file(SECRETS)["services"]

    for name, wanted in services["server-1"]["depends_on"].items():
        assert wanted["condition"] == "service_healthy"
        assert "test" in services[name]["healthcheck"]
    for service in services.values():
        assert "build" in service or re.search(r":\d[\w.\-]*$", service["image"])


def test_what_is_to_last_lies_on_volumes() -> None:
    compose = compose_file(SECRETS)

    for name in ("postgres", "s3"):
        (volume,) = compose["services"][name]["volumes"]
        assert volume.partition(":")[0] in compose["volumes"]


def test_the_proxy_knows_every_server() -> None:
    services = compose_file(SECRETS)["services"]
    upstream = re.findall(r"server (\S+):(\d+) ", (ROOT / "deploy/nginx.conf").read_text())

    names = [name for name in services if name.startswith("server-")]
    port = services["server-1"]["environment"]["TRACKER_PORT"]
    assert upstream == [(name, port) for name in names]


def test_the_image_is_slim_runs_without_root_and_tells_its_health() -> None:
    final = DOCKERFILE.rpartition("FROM ")[2]

    assert final.startswith("python:3.12-slim\n")
    user = re.findall(r"^USER (\S+)$", final, re.MULTILINE)
    assert user == ["tracker"]
    assert re.search(r"useradd .*--uid 10001 tracker", final)
    assert "HEALTHCHECK" in final
    assert "/health'" in final
    assert re.search(r'"/src\[server,postgres,s3\]"', DOCKERFILE)


def test_the_image_is_built_from_what_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
