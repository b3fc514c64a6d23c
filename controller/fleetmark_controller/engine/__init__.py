"""The asynchronous core: transactions and their effects, dispatch, leases, evaluation."""
