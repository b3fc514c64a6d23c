"""The version of Fleetmark: of its distribution, its agent and its controller."""

VERSION = "0.2.0"
