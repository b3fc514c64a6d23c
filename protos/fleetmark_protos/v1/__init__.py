"""Generated stubs of package `fleetmark.v1`; see fleetmark_protos.generate."""
