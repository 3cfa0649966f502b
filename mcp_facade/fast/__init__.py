"""A lane in front of the SDK for what is hot: calls of the tools in both eras, and the listen stream.

The SDK can answer everything, and is the reference. It takes some ten times as long as the broker itself, most of
it in models and task groups that a well-formed call of a tool has no need of. So the lane answers those: it decodes
them with msgspec, lets the same tools carry them out, and writes the same bytes. Whatever it does not know in every
detail (another header, another key, a token for progress, a batch, a body in pieces) it gives to the SDK untouched,
so being wrong about what is usual costs time and nothing else.

What a request says about its client (`_meta`) is judged by the SDK's own models, once for each text of it. What is
left that could differ is held to the SDK by `tests/facade/lane/`: requests of every kind go through a
broker with the lane and one without, and answers, streams and what is left behind have to be the same.
`--no-fast-lane` serves without it.

It reaches the connection by a `DirectResponse`: a call that comes whole is answered in one write, and a
notification is written to its stream as soon as it is announced. What would have to wait goes by ASGI.

`requests.py` says what is usual, `answers.py` what is written, `lane.py` brings the two together; a call that may
last is in `long_running.py`, a stream in `subscriptions.py`.
"""
