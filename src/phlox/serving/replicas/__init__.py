"""Replicas: the same models in several processes, on one machine or on a cluster.

_ray           px.serving.ray: an application of Ray Serve, read it first
_front         what takes requests, and asks again where a replica died
_replica       one process with the models
_messages      what goes between these two
"""
