"""The pages of subscriptions, by role."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.subscriptions.flows import broken
from tests.tasks_ui.conftest import faults_of
from workflows.models import WorkflowTemplate

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def browser_of(db):
    def make(role):
        user = User.objects.create_user(role)
        user.groups.add(Group.objects.get_or_create(name=role)[0])
        client = Client()
        client.force_login(user)
        return client

    return make


def read(answer, status=200):
    html = answer.content.decode()
    assert answer.status_code == status, html[:500]
    assert faults_of(html) == []
    return html


def test_the_list(nodes, browser_of):
    client = browser_of("auditor")
    assert "Nobody owns anything yet" in read(client.get("/subscriptions/"))
    nodes.make()
    other = nodes.make("<Basel>")
    holder = nodes.run("Visit", other.pk)

    html = read(client.get("/subscriptions/"))

    assert (html.count("data-row>"), holder.business_ref_no in html) == (2, True)
    for query, count in (
        ("sync=out", 1), ("sync=in", 1), ("status=active", 2), ("status=initial", 0), ("customer=acm", 2),
        ("product=node", 2), ("product=none", 0), ("status=asleep", 2), ("older=nonsense", 2),
    ):  # fmt: skip
        assert read(client.get(f"/subscriptions/?{query}")).count("data-row>") == count, query


def test_one_in_sync(nodes, browser_of):
    client = browser_of("operator")
    parent, node = nodes.make("Parent"), nodes.make("<b>")
    nodes.run("Attach", parent.pk, other=str(node.pk))
    done = nodes.run("Modify node", node.pk, name="Berlin")
    where = f"/subscriptions/{node.pk}/"

    html = read(client.get(where))

    assert "Berlin" in html
    assert "&lt;b&gt;" in html
    assert "In use by" in html
    assert done.business_ref_no in html
    assert "Rename the node" in html
    assert "Out of sync" not in html
    assert "CREATE takes initial or provisioning" in html
    template = WorkflowTemplate.objects.get(workflow_name="Modify node")
    link = f"/start/{template.pk}/?subscription={node.pk}"
    assert link in html
    assert str(node.pk) in read(client.get(link))
    assert "not there" in read(client.get(f"{where}?before=1&after=2"))
    for nonsense in ("before=0&after=99", "before=x", "after=-1", "before=4&after=1"):
        read(client.get(f"{where}?{nonsense}"))


def test_unlocking_takes_a_reason_and_a_holder_that_is_done(nodes, browser_of):
    client = browser_of("operator")
    node = nodes.make()
    holder = nodes.run("Visit", node.pk)
    where = f"/subscriptions/{node.pk}/"
    html = read(client.get(where))
    assert "Out of sync" in html
    assert holder.business_ref_no in html
    assert "beside the holder" in html

    assert "Say why" in read(client.post(f"{where}unlock/"), 400)
    refused = read(client.post(f"{where}unlock/", {"reason": "impatience"}), 409)

    assert f"held by Visit {holder.business_ref_no}" in refused
    assert 'value="impatience"' in refused
    assert nodes.node(node.pk).holder == holder


def test_a_failed_validation_is_unlocked(nodes, browser_of):
    client = browser_of("operator")
    node = nodes.make()
    broken.add("compare")
    nodes.run("Validate node", node.pk)
    where = f"/subscriptions/{node.pk}/"

    assert client.post(f"{where}unlock/", {"reason": "repaired"}).status_code == 302

    html = read(client.get(where))
    assert "Out of sync" not in html
    assert "repaired" in html


def test_notes(nodes, browser_of):
    client = browser_of("operator")
    where = f"/subscriptions/{nodes.make().pk}/"

    assert client.post(f"{where}note/", {"note": "Call <b>before</b> ten"}).status_code == 302

    assert "Call &lt;b&gt;before" in read(client.get(where))
    assert "Call &lt;b&gt;before" in read(browser_of("auditor").get(where))


def test_who_sees_and_who_acts(nodes, browser_of):
    node = nodes.make()
    nodes.run("Visit", node.pk)
    where = f"/subscriptions/{node.pk}/"
    for role in ("auditor", "api_client"):
        html = read(browser_of(role).get(where))
        assert "Unlock" not in html.replace("Unlocked", "")
        assert "Start…" not in html
    for role in ("finance",):
        client = browser_of(role)
        assert client.get(where).status_code == client.get("/subscriptions/").status_code == 404
    for role in ("sales", "auditors_only"):
        for verb in ("unlock", "note"):
            client = Client()
            client.force_login(User.objects.get_or_create(username=role)[0])
            assert client.post(f"{where}{verb}/", {"reason": "why", "note": "why"}).status_code == 403
    assert Client().get(where).status_code == 302


def test_the_admin_shows_them_and_changes_none(nodes):
    node = nodes.make()
    boss = User.objects.create_superuser("boss")
    client = Client()
    client.force_login(boss)

    for table in ("product", "subscription", "subscriptionversion", "subscriptionevent", "subscriptionrelation"):
        assert client.get(f"/admin/workflows/{table}/").status_code == 200, table
        assert client.get(f"/admin/workflows/{table}/add/").status_code == 403
    assert client.get(f"/admin/workflows/subscription/{node.pk}/change/").status_code == 200
    assert client.post(f"/admin/workflows/subscription/{node.pk}/change/", {"customer": "x"}).status_code in (302, 403)
    assert nodes.node(node.pk).customer == "ACME"
