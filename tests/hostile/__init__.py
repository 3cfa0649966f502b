"""One generator of hostile requests, for the fuzzer, for the lane's comparison with the SDK, and for bytes on the wire.

`values` holds odd JSON values, `messages` JSON-RPC bodies, `heads` the heads of HTTP requests and bytes that are
hardly HTTP. `changes` alters a well-formed request in parts, `shapes` on the wire. `scenarios` and `cases` put
requests in order.
"""
