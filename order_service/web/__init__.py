"""HTTP without orders: connections, the fast path, admission, middleware, problems."""
