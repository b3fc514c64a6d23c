"""Plan and proof of the confinement of a job, for the agent and for the trial of an import."""
