"""Signing in: the right password, wrong ones, where it leads."""

import pytest
from django.test import Client, override_settings


def sign_in(client, name="olivia", password="demo", **more):
    return client.post("/signin/", {"username": name, "password": password, **more})


def test_the_page_asks_for_name_and_password(client, db, sound):
    html = sound(client.get("/signin/"))

    assert 'autocomplete="current-password"' in html
    assert "Try it as" not in html


@override_settings(DEMO=True)
def test_the_demo_offers_its_people(client, db, sound):
    assert "Try it as" in sound(client.get("/signin/"))


def test_the_right_password_leads_on(client, people):
    assert sign_in(client, next="/instances/?q=a").url == "/instances/?q=a"


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
def test_next_leads_nowhere_else(client, people, address):
    assert sign_in(client, next=address).url == "/"


def test_strangers_are_sent_to_sign_in(client, db):
    answer = client.get("/instances/?q=a b")

    assert answer.url == "/signin/?next=/instances/%3Fq%3Da%2520b"


def test_a_fragment_tells_the_page_to_sign_in(client, db):
    answer = client.get("/instances/", headers={"HX-Request": "true"})

    assert (answer.status_code, answer["HX-Redirect"]) == (401, "/signin/")


def test_unknown_names_and_wrong_passwords_read_alike(people, sound):
    wrong = sound(sign_in(Client(), password="no"), 403)
    unknown = sound(sign_in(Client(), name="nobody", password="no"), 403)

    assert "Name and password don’t match." in wrong
    assert "Name and password don’t match." in unknown


def test_many_wrong_passwords_have_to_wait_whoever_they_are_for(people, sound):
    for name in ("olivia", "nobody"):
        client = Client()
        answers = [sign_in(client, name=name, password="no").status_code for _ in range(8)]

        assert answers == [403] * 6 + [429] * 2
        assert "Too many tries" in sound(sign_in(client, name=name), 429)


def test_others_need_not_wait(people):
    client = Client()
    for _ in range(8):
        sign_in(client, password="no")

    assert sign_in(client, name="adam").status_code == 302


def test_the_right_password_forgives(people):
    client = Client()
    for _ in range(4):
        sign_in(client, password="no")
    sign_in(client)
    client.logout()

    assert [sign_in(client, password="no").status_code for _ in range(5)] == [403] * 5


def test_signing_out_takes_a_post(browser_of):
    client = browser_of("olivia")

    assert client.get("/signout/").status_code == 405
    assert client.post("/signout/").url == "/signin/"
    assert client.get("/").status_code == 302


def test_signing_out_takes_a_token(people):
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["olivia"])

    assert client.post("/signout/").status_code == 403
