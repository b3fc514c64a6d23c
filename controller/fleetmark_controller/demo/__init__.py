"""The main job on one machine: real processes, the default suite, files to look at."""
