"""Rights are looked at while somebody listens, not only when they come."""

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.test import Client

from tests.live.sockets import start, threaded, websocket
from workflows.models import ApiToken

pytestmark = pytest.mark.asyncio


def deactivate(username):
    get_user_model().objects.filter(username=username).update(is_active=False)


def delete_tokens(username):
    ApiToken.objects.filter(user__username=username).delete()


def take_roles(username):
    get_user_model().objects.get(username=username).groups.clear()


def give_a_group(username):
    get_user_model().objects.get(username=username).groups.add(Group.objects.get(name="reviewers"))


def promote(username):
    get_user_model().objects.filter(username=username).update(is_superuser=True)


@pytest.mark.parametrize(
    ("change", "code"),
    [(deactivate, 4401), (delete_tokens, 4401), (take_roles, 4403), (give_a_group, 4403), (promote, 4403)],
)
async def test_a_changed_caller_has_to_come_again(people, workflow, change, code):
    async with websocket(people["olga"]) as socket:
        await socket.ask("instances")

        await threaded(change)("olga")

        assert await socket.code() == code


async def test_others_stay_connected(people, workflow):
    async with websocket(people["olga"]) as olga, websocket(people["audra"]) as audra:
        await olga.ask("instances")
        await audra.ask("instances")
        await threaded(deactivate)("olga")
        await olga.code()

        answer = await threaded(start)("A-1")

        assert (await audra.hear())["changed"] == [str(answer.instance.id)]


@pytest.fixture
def session(people):
    user = get_user_model().objects.get(username="olga")
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def log_out(user):
    Session.objects.all().delete()


def new_password(user):
    user = get_user_model().objects.get(username="olga")
    user.set_password("another")
    user.save()


@pytest.mark.parametrize("change", [log_out, new_password, deactivate])
async def test_a_session_that_ends_ends_the_websocket(people, session, workflow, change):
    cookie = f"{settings.SESSION_COOKIE_NAME}={session}"
    async with websocket(origin="http://localhost", cookie=cookie) as socket:
        await socket.ask("instances")

        await threaded(change)("olga")

        assert await socket.code() == 4401


async def test_a_token_that_may_not_read_hears_nothing(people):
    def limit() -> None:
        token = ApiToken.objects.get(user__username="bot")
        token.scopes = ["events"]
        token.save()

    await sync_to_async(limit)()
    async with websocket(people["bot"]) as socket:
        assert await socket.code() == 4401
