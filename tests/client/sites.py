"""What the tests of services ask a real site."""

import uuid

from tests.demo.test_demo import get, post


def publish(site, *tasks, component=None):
    """Publish a template of one stage and return its component."""
    component = component or f"C-{uuid.uuid4().hex[:8]}"
    stages = [{"stage_name": "S", "stage_order": 1, "tasks": [{"task_type": "SERVICE", **task} for task in tasks]}]
    body = {"workflow_name": "Services", "component_name": component, "stages": stages}
    post(site, "templates/", body, user="olivia")
    return component


def start(site, component, *, ref="R-1", context=None):
    body = {"component_name": component, "business_ref_no": ref, "context": context or {}}
    return post(site, "instances/", body, user="service-bot")["id"]


def task_of(site, instance, name="work"):
    tasks = get(site, f"instances/{instance}/")["stages"][0]["tasks"]
    return next(task for task in tasks if task["task_name"] == name)


def state(site, instance):
    return get(site, f"instances/{instance}/")["state"]


def rival_leases(site, queue):
    body = {"worker_id": "rival", "max_tasks": 10, "lease_seconds": 60}
    return post(site, f"queues/{queue}/lease/", body, user="service-bot")["tasks"]


def events(site, instance):
    return [entry["event"] for entry in get(site, f"instances/{instance}/history/?limit=200")["results"]]


def business_status(site, instance):
    return get(site, f"instances/{instance}/")["business_status"]
