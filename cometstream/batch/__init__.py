"""Batch: many requests through one session, each answer streamed, nothing lost."""

from __future__ import annotations

from cometstream.batch.result import BatchProgress, BatchResult

__all__ = ["BatchProgress", "BatchResult"]
