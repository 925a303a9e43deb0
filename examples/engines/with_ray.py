"""Ray Data: answers for each row of a dataset. Needs ``pip install 'cometstream[ray]'``; ``--demo`` needs no key."""

import sys

import ray
from demo import serve

from cometstream.batch.ray import Completions

TOPICS = ["comets", "asteroids", "meteors", "planets", "moons", "stars", "galaxies", "nebulae"]

if "--demo" in sys.argv:
    serve()
ray.init(include_dashboard=False)
dataset = ray.data.from_items([{"topic": topic, "prompt": f"Write one sentence about {topic}."} for topic in TOPICS])
answers = dataset.map_batches(
    Completions,
    fn_constructor_kwargs={"model": "gpt-5.4", "id": "topic", "ledger": "rows.db", "shared_limits": "limits.db"},
    batch_format="pyarrow",
    batch_size=256,
    compute=ray.data.ActorPoolStrategy(size=2),
)
for row in answers.take_all():
    print(f"{row['topic']}: {row['error'] or row['content']}")
