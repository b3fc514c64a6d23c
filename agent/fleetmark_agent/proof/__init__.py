"""A proof of this device, for tests of devices that developers lack: `agent proof`.

It has the files of the kernel that measuring reads, answers of the vendors' programs, sensors,
controls, the doctor's output, and a run of each runtime. Personal details are removed before
anything is written. Loaded by that command alone.
"""
