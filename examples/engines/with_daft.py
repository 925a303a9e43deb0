"""Daft: a column of answers. Needs ``pip install 'cometstream[daft]'``; ``--demo`` needs no key."""

import sys

import daft
from demo import serve

from cometstream.batch.daft import completions

TOPICS = ["comets", "asteroids", "meteors", "planets", "moons", "stars", "galaxies", "nebulae"]

if "--demo" in sys.argv:
    serve()
frame = daft.from_pydict({"topic": TOPICS, "prompt": [f"Write one sentence about {topic}." for topic in TOPICS]})
answer = completions(daft.col("prompt"), id=daft.col("topic"), model="gpt-5.4", rpm=600, ledger="rows.db")
for row in frame.with_column("answer", answer).to_pylist():
    print(f"{row['topic']}: {row['answer']['error'] or row['answer']['content']}")
