"""A lane in front of the SDK for the hot requests: tool calls in both eras, and the listen stream.

The SDK can answer everything, and is the reference. It takes some ten times as long as the broker itself, most of
it in models and task groups. A well-formed tool call needs none of those, so the lane answers it: it decodes with
msgspec, lets the same tools carry the call out, and writes the same bytes. A request with any unknown detail
(another header, another key, a progress token, a batch, a body in pieces) goes to the SDK untouched. So a wrong
judgement of what is usual costs time and nothing else.

The SDK's own models judge a request's `_meta`, once for each text of it. `tests/facade/lane/` checks the rest
against the SDK: requests of every kind go to a broker with the lane and to one without, and the answers, the streams
and the resulting state have to be the same. `--no-fast-lane` serves without the lane.

The lane reaches the connection by a `DirectResponse`: a call received whole is answered in one write, and a
notification is written to its stream as soon as it is announced. A write that would have to wait goes by ASGI.

`requests.py` recognises the usual requests, `http/encoders.py` writes the answers, `lane.py` joins the two. Calls
that may block are in `http/long_running.py`, the stream in `subscriptions.py`.
"""
