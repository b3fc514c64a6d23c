"""Turn a request into jobs: resolution, estimates, resource checks. Pure."""
