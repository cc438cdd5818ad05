"""Live updates over a websocket: small hints after each commit. What a page shows it fetches.

`/ws/live/` takes JSON frames `{"action": "subscribe" | "unsubscribe", "topic": …, "since": SEQUENCE?}`. A subscription
is answered with `{"topic", "sequence", "changed": […]}`: where the topic stands, and, with `since`, what to fetch again
(`["*"]`: everything shown). Frames of the same shape follow after commits; what `changed` names is told in `groups`.
What is refused is answered with `{"error": CODE, "detail": …, "topic"?: …}`, CODE being one of `bad_frame`,
`not_found`, `too_many_subscriptions`, `not_authenticated`. The closing codes are listed in `consumers`.
"""
