"""The cache in Redis, which never serves an older version than one that was acknowledged."""
