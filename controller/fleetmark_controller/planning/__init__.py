"""From a request to jobs: resolution, estimates, resource checks. Pure."""
