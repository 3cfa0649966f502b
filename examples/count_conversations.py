"""Count the conversations of each hour in a broker's log: python examples/count_conversations.py NATS_URL [LOG].

It needs nats-py alone, and the right to read: docs/operating.md has it. It begins with the oldest commit and goes on
until it is ended, through restarts of the server. After each conversation it prints the hour and the count so far.
"""

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, datetime

import nats
import nats.errors


async def report(error: Exception) -> None:
    """Print an error of the connection in one line."""
    print(f"count_conversations: {error}", file=sys.stderr)


async def main(url: str, log: str) -> None:
    """Count until the program is ended."""
    conversations = Counter[str]()
    client = await nats.connect(url, error_cb=report, inbox_prefix="_INBOX_listener")
    # An ordered consumer: the server keeps nothing for it, and the library begins anew after a broken connection.
    commits = await client.jetstream().subscribe(f"{log}.log.*", stream=f"{log}_LOG", ordered_consumer=True)
    async for message in commits.messages:
        commit = json.loads(message.data)
        for event in commit["events"]:
            if event["type"] == "room_opened":
                hour = f"{datetime.fromtimestamp(commit['at_ms'] / 1_000, UTC):%Y-%m-%d %H:00Z}"
                conversations[hour] += 1
                print(hour, conversations[hour], flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("python examples/count_conversations.py NATS_URL [LOG]")
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "chat"))
    except (nats.errors.Error, ValueError) as fault:
        sys.exit(f"count_conversations: {fault}: is there such a log, and may this user read it?")
