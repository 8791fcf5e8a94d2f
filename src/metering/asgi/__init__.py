"""The pieces as pure ASGI: the only place that knows HTTP."""
