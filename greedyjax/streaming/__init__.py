"""Recovery of more signals than memory holds: batch by batch, and shard by shard on disk."""

from greedyjax.streaming._batches import batches, recover
from greedyjax.streaming._batches import batches_of as batches_of
from greedyjax.streaming._shards import recover_shards
from greedyjax.streaming._store import Shards, open_shards

__all__ = ["Shards", "batches", "open_shards", "recover", "recover_shards"]
