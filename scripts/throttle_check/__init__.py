"""A person's check of their own throttle settings: what was asked, and what a server really sees.

    plan     what is tried, and in which scale of time: pure
    caller   processes that call, each as a worker would
    trial    a simulated server, the callers, and what is done to them
    judge    what was measured → rows of asked, measured, verdict: pure
    report   the rows for a person

`scripts/test_throttling.py` puts them together.
"""
