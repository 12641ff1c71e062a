"""Dialogues with frames, in English and Chinese."""

import json
from pathlib import Path
from typing import Any


def frame(service: str, intent: str, **values: str) -> dict[str, Any]:
    slots = {slot: [value] for slot, value in values.items()}
    return {
        "service": service,
        "slots": [],
        "state": {"active_intent": intent, "requested_slots": [], "slot_values": slots},
    }


DIALOGUES = [
    {
        "dialogue_id": "1", "services": ["Restaurants", "Taxi"],
        "turns": [
            {"speaker": "USER", "utterance": "A table for 2 in San Jose at half past 11.",
             "frames": [frame("Restaurants", "Reserve", city="San Jose", seats="2", time="half past 11")]},
            {"speaker": "SYSTEM", "utterance": "Which restaurant? Sino has 12 tables.", "frames": [{"service": "Restaurants", "slots": []}]},
            {"speaker": "USER", "utterance": "Yes, and a taxi.",
             "frames": [frame("Restaurants", "Reserve", city="San Jose", seats="2", time="noon", name="Sino"), frame("Taxi", "Ride", shared="True")]},
            {"speaker": "SYSTEM", "utterance": "Done.", "frames": []},
            {"speaker": "USER", "utterance": "A cheap taxi please.", "frames": [frame("Taxi", "Ride", shared="True", kind="cheap")]},
        ],
    },
    {
        "dialogue_id": "2", "services": ["订票"],
        "turns": [
            {"speaker": "USER", "utterance": "我要一张明天去上海的票", "frames": [frame("订票", "购票", 日期="明天", 目的地="上海")]},
            {"speaker": "SYSTEM", "utterance": "几点出发？", "frames": []},
        ],
    },
]  # fmt: skip


def files(folder: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in DIALOGUES)
    (folder / "dialogues.jsonl").write_text(text, encoding="utf-8")
