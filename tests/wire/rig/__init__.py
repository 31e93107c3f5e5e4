"""The test rig for the wire: namespaces, frames, faults on the link, mail and bulk traffic.

See README.md. Python standard library only; needs root for everything but the mail servers.
"""
