"""What comes by HTTP: REST API, pages, pictures, metrics. Imports ``live`` and below.

``app.create_app`` makes the ASGI application of a ``context.WebContext``; ``servers.http`` serves
it, and knows nothing of it. Nothing is imported here: the process that makes pictures starts
quickly.
"""
