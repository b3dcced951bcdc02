"""Web pages in a queue become validated data, with one's own vLLM server and without ever flooding it."""

__version__ = "0.1.0"
