"""Subscriptions: what customers own, every version of it, what may be started on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment, read_id, refusal
from workflows.api.calls import Call
from workflows.engine.lifecycle import SubscriptionStatus
from workflows.models import Subscription, SubscriptionEvent, SubscriptionVersion
from workflows.runtime.asking import Answer
from workflows.runtime.holding import holder_told
from workflows.runtime.masking import masked, masked_at
from workflows.subscriptions import Startable, note, startable, unlock, versions_apart

_NEWEST = (paging.moments("created_at", descending=True), paging.ids(descending=True))
_OLDEST = (paging.numbers("id"),)
_NEWEST_VERSION = (paging.numbers("version", descending=True),)


class Subscriptions(ApiView):
    """All subscriptions."""

    calls = {
        "GET": Call(
            "List subscriptions",
            {200: "SubscriptionPage"},
            about="Newest first.",
            query=(
                parameters.text("product", "Only subscriptions to the product of this name."),
                parameters.text("customer", "Only this customer's."),
                parameters.several("status", SubscriptionStatus, "Only subscriptions in one of these statuses."),
                parameters.boolean("in_sync", "false: only those that an instance holds; true: only the others."),
                *parameters.PAGING,
            ),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list subscriptions."""
        rows = Subscription.objects.select_related("product", "holder")
        if self.query["product"] is not None:
            rows = rows.filter(product__name=self.query["product"])
        if self.query["customer"] is not None:
            rows = rows.filter(customer=self.query["customer"])
        if self.query["status"]:
            rows = rows.filter(status__in=self.query["status"])
        if self.query["in_sync"] is not None:
            rows = rows.filter(holder__isnull=self.query["in_sync"])
        return answer(paging.page(request._request, rows, keys=_NEWEST, query=self.query, render=_json))


class SubscriptionView(ApiView):
    """A route below one subscription."""

    subscription: Subscription

    def look_up(self) -> None:
        """This will find the subscription."""
        self.subscription = self.read()

    def read(self) -> Subscription:
        """This will read it as it is now."""
        key = read_id(self.kwargs["subscription_id"])
        found = Subscription.objects.select_related("product", "holder").filter(pk=key).first()
        if found is None:
            raise problems.not_found()
        return found

    def show(self) -> HttpResponse:
        """This will give the subscription as it is now, with its relations."""
        row = self.read()
        return answer(
            {
                **_json(row),
                "fixed_inputs": row.product.fixed_inputs,
                "depends_on": _related(row.depends_on.order_by("child").values_list("child", flat=True)),
                "in_use_by": _related(row.in_use_by.order_by("parent").values_list("parent", flat=True)),
            }
        )

    def version(self, number: int, pick: Callable[[str], problems.Problem]) -> SubscriptionVersion:
        """This will give one version of the values; raises what `pick` makes of a number that is none."""
        found = SubscriptionVersion.objects.filter(subscription=self.subscription, version=number).first()
        if found is None:
            raise pick(f"The newest version has number {self.subscription.version}.")
        return found


class SubscriptionDetail(SubscriptionView):
    """One subscription."""

    calls = {"GET": Call("Read one subscription", {200: "Subscription"}, refusals=(404,))}

    def get(self, request: Request) -> HttpResponse:
        """This will give the subscription."""
        return self.show()


class SubscriptionVersions(SubscriptionView):
    """Every version of its values."""

    calls = {
        "GET": Call(
            "List the versions of a subscription",
            {200: "SubscriptionVersionPage"},
            about="Newest first, each with the instance and the step that made it.",
            query=parameters.PAGING,
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list versions."""
        rows = SubscriptionVersion.objects.filter(subscription=self.subscription)
        return answer(paging.page(request._request, rows, keys=_NEWEST_VERSION, query=self.query, render=_version_json))


class SubscriptionDiff(SubscriptionView):
    """What two versions differ in."""

    calls = {
        "GET": Call(
            "Compare two versions of a subscription",
            {200: "SubscriptionDiff"},
            about="Without `after`: the newest; without `before`: the one before that.",
            query=(
                parameters.integer("before", "The number of the one version."),
                parameters.integer("after", "The number of the other."),
            ),
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will compare them."""
        after = self.query["after"] or self.subscription.version
        before = self.query["before"] or max(1, after - 1)
        old = self.version(before, lambda why: parameters.bad_value("before", why))
        new = self.version(after, lambda why: parameters.bad_value("after", why))
        return answer(
            {
                "before": _version_json(old),
                "after": _version_json(new),
                "differences": [
                    {
                        "pointer": one.pointer,
                        "kind": one.kind,
                        "before": masked_at(one.pointer, one.before),
                        "after": masked_at(one.pointer, one.after),
                    }
                    for one in versions_apart(old, new)
                ],
            }
        )


class SubscriptionHistory(SubscriptionView):
    """Who held it, and what else happened to it."""

    calls = {
        "GET": Call(
            "Read a subscription's history",
            {200: "SubscriptionEventPage"},
            about="Oldest first: who took it out of sync and who put it back, relations, notes. Changes: `versions/`.",
            query=parameters.PAGING,
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list its history."""
        rows = SubscriptionEvent.objects.filter(subscription=self.subscription)
        return answer(paging.page(request._request, rows, keys=_OLDEST, query=self.query, render=_event_json))


class SubscriptionWorkflows(SubscriptionView):
    """What may be started on it."""

    calls = {
        "GET": Call(
            "Ask which workflows may start on a subscription now",
            {200: "SubscriptionWorkflows"},
            about="The newest version of each workflow for its product, and of each that may not start the reason.",
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will judge them all."""
        return answer({"results": [_startable_json(one) for one in startable(self.subscription.pk)]})


class UnlockSubscription(SubscriptionView):
    """Put it back in sync."""

    calls = {
        "POST": Call(
            "Put a subscription back in sync",
            {200: "Subscription"},
            about="Refused while its holder has not ended, unless that is a validation that has failed.",
            body=(bodies.text("reason", required=True, about="Why; it is kept in its history."),),
            refusals=(404, 409),
            example={"reason": "Compared with the network by hand"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will unlock it."""
        return self.done(unlock(self.subscription.pk, by=self.person.username, reason=self.body["reason"]))

    def done(self, said: Answer) -> HttpResponse:
        """This will show the subscription; raises Problem where it was refused."""
        if not said.applied:
            raise refusal(said)
        return self.show()


class NoteSubscription(UnlockSubscription):
    """Say something about it."""

    calls = {
        "POST": Call(
            "Keep a note with a subscription",
            {200: "Subscription"},
            about="Whoever holds it; it is no part of the values. An empty note takes the old one away.",
            body=(bodies.text("note", most=5_000, default="", about="The whole note."),),
            refusals=(404,),
            example={"note": "Call before ten"},
        )
    }

    def post(self, request: Request) -> HttpResponse:
        """This will keep it."""
        return self.done(note(self.subscription.pk, text=self.body["note"], by=self.person.username))


def _json(row: Subscription) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "product": row.product.name,
        "customer": row.customer,
        "status": row.status,
        "in_sync": row.in_sync,
        "holder": None if row.holder is None else holder_told(row.holder),
        "held_since": moment(row.held_since),
        "version": row.version,
        "values": masked(row.values),
        "note": row.note,
        "active_since": moment(row.active_since),
        "terminated_at": moment(row.terminated_at),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def _related(keys: Iterable[Any]) -> list[str]:
    return [str(key) for key in keys]


def _version_json(row: SubscriptionVersion) -> dict[str, Any]:
    return {
        "version": row.version,
        "values": masked(row.values),
        "status": row.status,
        "instance_id": str(row.instance_id),
        "stage_name": row.stage_name,
        "task_name": row.task_name,
        "attempt": row.attempt,
        "compensation": row.compensation,
        "created_at": moment(row.created_at),
    }


def _event_json(row: SubscriptionEvent) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "occurred_at": moment(row.occurred_at),
        "actor": row.actor,
        "instance_id": None if row.instance_id is None else str(row.instance_id),
        "reason": row.reason,
        "data": masked(row.data),
    }


def _startable_json(one: Startable) -> Mapping[str, Any]:
    refused = one.refusal
    return {
        "template_id": str(one.template_id),
        "component_name": one.component_name,
        "workflow_name": one.workflow_name,
        "version": one.version,
        "target": one.target,
        "may_start": one.may_start,
        "beside": one.beside,
        "code": refused.code if refused else None,
        "reason": refused.reason if refused else None,
        "holder": refused.details.get("holder") if refused else None,
    }
