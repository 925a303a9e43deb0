"""Spark: a data frame with answers. Needs ``pip install 'cometstream[spark]'`` and Java; ``--demo`` needs no key."""

import os
import sys

from demo import serve
from pyspark.sql import SparkSession

from cometstream.batch.spark import Completions

TOPICS = ["comets", "asteroids", "meteors", "planets", "moons", "stars", "galaxies", "nebulae"]

if "--demo" in sys.argv:
    serve()
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
spark = SparkSession.builder.master("local[2]").getOrCreate()
frame = spark.createDataFrame([(topic, f"Write one sentence about {topic}.") for topic in TOPICS], ["topic", "prompt"])
completions = Completions(id="topic", model="gpt-5.4", ledger="rows.db", shared_limits="limits.db")
for row in frame.mapInArrow(completions, completions.schema(frame)).collect():
    print(f"{row['topic']}: {row['error'] or row['content']}")
spark.stop()
