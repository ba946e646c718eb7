"""Migrations, run by ``catalogue.migrate`` when the server starts; none is ever changed."""
