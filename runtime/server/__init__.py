"""The HTTP server: OpenAI's API, SGLang's native one, and what operators need.

`launch.py` starts it, `app.py` puts it together, `listening.py` has uvicorn serve it. FastAPI is in
front, the engine's process behind (`supervisor.py`); between them every request is checked
(`access.py`, `guard.py`), admitted (`admission.py`), translated (`asked.py`) and answered
(`routes_*.py`).
"""
