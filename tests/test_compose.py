"""What ``docker compose up`` would start: CXDB's image, within reach of this machine only.

The image reads ``CXDB_DATA_DIR``, ``CXDB_BIND`` and ``CXDB_HTTP_BIND``, answers at
``/healthz`` and has a page at port 80; ``curl`` is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parent.parent / "docker-compose.yaml"


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def service(composed: dict[str, Any]) -> dict[str, Any]:
    (only,) = composed["services"].values()
    assert only["image"] == "cxdb/cxdb"
    found: dict[str, Any] = only
    return found


def test_every_port_is_published_on_loopback_only(service: dict[str, Any]) -> None:
    published = [tuple(port.rsplit(":", 2)) for port in service["ports"]]
    assert {place for place, _, _ in published} == {"127.0.0.1"}
    assert len({outside for _, outside, _ in published}) == len(published)


def test_what_the_server_listens_at_is_published_under_the_ports_that_orchestra_asks(
    service: dict[str, Any],
) -> None:
    published = {inside: outside for _, outside, inside in (port.rsplit(":", 2) for port in service["ports"])}
    binary, http = (service["environment"][name].rsplit(":", 1) for name in ("CXDB_BIND", "CXDB_HTTP_BIND"))
    assert binary[0] == http[0] == "0.0.0.0"
    assert (published[binary[1]], published[http[1]]) == ("9009", "9010")
    assert "80" in published


def test_the_data_is_in_a_volume_that_outlives_the_container(
    composed: dict[str, Any], service: dict[str, Any]
) -> None:
    (mount,) = service["volumes"]
    name, _, inside = mount.partition(":")
    assert name in composed["volumes"]
    assert inside == service["environment"]["CXDB_DATA_DIR"]


def test_its_health_is_asked_at_the_route_that_answers(service: dict[str, Any]) -> None:
    kind, *command = service["healthcheck"]["test"]
    port = service["environment"]["CXDB_HTTP_BIND"].rsplit(":", 1)[1]
    assert kind == "CMD"
    assert command[0] == "curl"
    assert "-f" in command[1]
    assert command[-1] == f"http://127.0.0.1:{port}/healthz"
