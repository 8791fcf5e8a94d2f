"""A small model server with everything around it: `python -m metering.demo`."""

from importlib.util import find_spec

for _package in ("fastapi", "jinja2", "openai", "rich", "uvicorn"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(
            f"The demo needs the package {_package}, which is not installed:"
            " pip install 'asgi-metering[demo]'.",
            name=_package,
        )
