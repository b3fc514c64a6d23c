"""The runner of one attempt, from its order to its records, in steps that can be resumed."""
