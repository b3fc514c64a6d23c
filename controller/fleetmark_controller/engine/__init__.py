"""The event loop: transactions and effects, dispatch, leases, evaluation."""
