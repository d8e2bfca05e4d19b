"""The cache in Redis. It never serves an older version than one that was acknowledged."""
