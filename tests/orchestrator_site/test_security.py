"""Foreign pages and foreign code stay outside."""

import os
import stat
import threading

import pytest
from channels.testing import WebsocketCommunicator

from orchestrator_site.security import SameOriginWebsocket, demo_secret_key


async def accept(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})


def headers(**named):
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


async def opens(*given, application=SameOriginWebsocket(accept), path="/ws/live/", scheme="ws"):  # noqa: B008
    communicator = WebsocketCommunicator(application, path, headers=list(given))
    communicator.scope["scheme"] = scheme
    connected, _ = await communicator.connect()
    await communicator.disconnect()
    return connected


@pytest.fixture(autouse=True)
def _hosts(settings):
    settings.ALLOWED_HOSTS = ["127.0.0.1", "flows.example.org", "testserver"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("scheme", "origin", "host"),
    [
        ("ws", "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("wss", "https://flows.example.org", "flows.example.org"),
    ],
)
async def test_our_own_page_may_open_a_websocket(scheme, origin, host):
    assert await opens(*headers(origin=origin, host=host), scheme=scheme)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:8001",
        "https://127.0.0.1:8000",
        "http://evil.example.org",
        "http://127.0.0.1.evil.example.org:8000",
        "http://127.0.0.1:8000.evil.example.org",
        "null",
        "",
    ],
)
async def test_another_page_may_not(origin):
    assert not await opens(*headers(origin=origin, host="127.0.0.1:8000"))
    assert not await opens(*headers(origin=origin, host="127.0.0.1:8000", authorization="Bearer x"))


@pytest.mark.asyncio
async def test_a_host_that_is_not_ours_makes_no_origin_ours():
    assert not await opens(*headers(origin="http://evil.example.org", host="evil.example.org"))


@pytest.mark.asyncio
async def test_two_origins_are_none():
    one = headers(origin="http://127.0.0.1:8000", host="127.0.0.1:8000")

    assert not await opens(*one, *headers(origin="http://127.0.0.1:8000"))


@pytest.mark.asyncio
async def test_a_program_comes_without_an_origin_but_with_authorization():
    assert await opens(*headers(host="127.0.0.1:8000", authorization="Bearer x"))
    assert not await opens(*headers(host="127.0.0.1:8000"))


@pytest.mark.asyncio
async def test_a_trusted_origin_may_be_named(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example.org"]

    assert await opens(*headers(origin="https://desk.example.org", host="127.0.0.1:8000"))


@pytest.mark.asyncio
async def test_behind_a_proxy_the_scheme_is_the_one_that_the_proxy_saw(settings):
    settings.TRUST_PROXY_HEADERS = True
    sent = headers(origin="https://flows.example.org", host="flows.example.org", x_forwarded_proto="https")

    assert await opens(*sent)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_an_unknown_websocket_is_refused_and_no_error():
    from orchestrator_site.asgi import application

    own = headers(origin="http://127.0.0.1:8000", host="127.0.0.1:8000")

    assert not await opens(*own, application=application, path="/ws/nothing/")


@pytest.mark.django_db
def test_every_answer_carries_the_policy(client):
    response = client.get("/admin/login/")

    assert response.status_code == 200
    policy = dict(part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
def test_static_files_and_refusals_carry_it_too(client):
    for path in ("/static/vendor/htmx-2.0.10/htmx.min.js", "/static/nothing.css"):
        response = client.get(path)
        response.close()
        assert response["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/static/../manage.py", "/static/%2e%2e/manage.py", "/static//etc/passwd", "/static/"]
)
def test_static_addresses_lead_nowhere_else(client, path):
    assert client.get(path).status_code == 404


def test_the_demo_makes_one_secret_for_each_data_folder_that_only_its_owner_reads(tmp_path):
    first = demo_secret_key(data_dir=tmp_path / "a")

    assert demo_secret_key(data_dir=tmp_path / "a") == first
    assert demo_secret_key(data_dir=tmp_path / "b") != first
    assert len(first) >= 50
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "secret_key").st_mode) == 0o600


def test_two_first_starts_at_once_agree_on_the_secret(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(demo_secret_key(data_dir=tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert found[0]
