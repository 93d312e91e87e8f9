"""A server that speaks SGLang's HTTP protocol with a known cost model and faults on demand.

`python -m append_prefill.planted --port P` runs it as a process; `planted.server.PlantedServer`
runs it in threads. It computes nothing: it waits as long as its cost model says, so what the
suite measures against it has a right answer.
"""
