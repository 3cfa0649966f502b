"""Count the conversations of each hour in a broker's log: python examples/count_conversations.py NATS_URL [LOG].

It needs nats-py alone, and the right to read: docs/operating.md has it. It begins with the oldest commit and goes on
until it is ended. After each conversation it prints the hour and the count so far.
"""

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, datetime

import nats


async def main(url: str, log: str) -> None:
    """Count until the program is ended."""
    conversations = Counter[str]()
    client = await nats.connect(url)
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
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "chat"))
