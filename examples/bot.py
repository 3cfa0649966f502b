"""Greet a stranger, and answer at most ten messages: python examples/bot.py [localhost:8000]."""

import asyncio
import sys

from chat_client import MessageReceived, Stranger, StrangerFound

TURNS_MAX = 10


async def main(address: str) -> None:
    """Hold one conversation."""
    turns = 0
    async with Stranger(address, name="Echo") as chat:
        await chat.enter()
        async for event in chat.events():
            if isinstance(event, StrangerFound):
                await chat.say("Hello! I am a program that repeats what you say.")
            elif isinstance(event, MessageReceived):
                turns += 1
                if turns > TURNS_MAX:
                    break
                await chat.say(f"You said: {event.text}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "localhost:8000"))
