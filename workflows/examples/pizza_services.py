"""The pizza shop's services as a program of their own, as yours would be: no Django, nothing of the orchestrator.

python -m workflows.examples.pizza_services --broker amqp://guest:guest@localhost:5672//
python -m workflows.examples.pizza_services --url http://127.0.0.1:8000 --token TOKEN
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from argparse import ArgumentParser, Namespace
from typing import Any

from workflows.client import Services, SqliteAnswers, Task, TaskFailed

SECONDS_IN_THE_OVEN = 3.0
SECONDS_TO_ASK_AROUND = 0.5
RIDERS = ("Ada", "Bruno", "Carla", "Dino", "Elena", "Fabio", "Gina")
MENU = ("Margherita", "Marinara", "Diavola", "Quattro Stagioni", "Capricciosa")


def pizza_services(url: str | None = None, *, pace: float = 1.0, **options: Any) -> Services:
    """This will give the shop's services; `pace` stretches the time they take (0: none)."""
    services = Services(url, **options)

    @services.service("confirm_order_queue")
    def confirm_order(task: Task) -> dict[str, Any]:
        pizza = task.context.get("pizza", MENU[0])
        if pizza not in MENU:
            # Another try would not put it on the menu.
            raise TaskFailed("not_on_the_menu", f"We do not make {pizza}.", {"menu": MENU}, retry=False)
        return {"eta_minutes": 25 + 5 * min(int(task.context.get("quantity") or 1), 5)}

    @services.service("make_food_queue")
    def make_food(task: Task) -> dict[str, Any]:
        # Long work looks up now and then: an order that was cancelled is not baked to the end.
        done = time.monotonic() + SECONDS_IN_THE_OVEN * pace
        while time.monotonic() < done:
            task.raise_if_cancelled()
            time.sleep(0.05)
        return {"oven": 1 + random.randrange(3)}  # noqa: S311 (which oven is no secret)

    @services.service("assign_executive_queue")
    async def assign_executive(task: Task) -> dict[str, Any]:
        # Functions may be coroutines: they wait for others without taking up a thread.
        await asyncio.sleep(SECONDS_TO_ASK_AROUND * pace)
        if task.attempt == 1 and random.random() < 0.25:  # noqa: S311
            raise TaskFailed("nobody_free", "All riders are on the road.")
        return {"rider": random.choice(RIDERS)}  # noqa: S311

    @services.service("confirm_delivery_queue")
    def confirm_delivery(task: Task) -> dict[str, Any]:
        # The key is the same for each attempt: a text message service that knows it sends one text, not two.
        text = f"{task.context.get('rider', 'Somebody')} is on the way."
        return {"message_to_customer": text, "message_key": task.idempotency_key}

    return services


def main() -> None:
    """This will serve until it is told to end."""
    options = _options()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    services = pizza_services(
        options.broker or options.url,
        token=options.token,
        inbound_queue=options.inbound_queue,
        answers=SqliteAnswers(options.answers) if options.answers else None,
    )
    services.run()


def _options() -> Namespace:
    parser = ArgumentParser(description="The pizza shop's services.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--broker", help="amqp://user:password@host:5672/virtual-host")
    where.add_argument("--url", help="the orchestrator itself: http://host:8000, with --token")
    parser.add_argument("--token", help="an API client's token: manage.py create_api_token service-bot")
    parser.add_argument("--inbound-queue", default="workflow_manager", help="with --broker: INBOUND_QUEUE of the site")
    parser.add_argument("--answers", help="a file in which answers are kept, so that they outlive this process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
