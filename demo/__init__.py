"""The demo: real sagas on real servers, with a worker killed on the way. `make demo`, or `sagaworker demo`."""
