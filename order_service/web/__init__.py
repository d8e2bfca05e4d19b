"""HTTP without orders: connections, the fast path, middleware, rate limits, identity."""
