"""``helio serve``: run the server."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heliograph.cli.console import ConfigOption, SetOption, stderr
from heliograph.node.addresses import interfaces
from heliograph.node.roles import roles_of
from heliograph.node.settings import Loaded, load

if TYPE_CHECKING:
    from heliograph.node.server import Server


def command(
    config: ConfigOption = None,
    sets: SetOption = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Also run the channel “demo”, and have the title “demo-film”."),
    ] = False,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="portal|manager|unit|storage", help="What this node does; repeat."
        ),
    ] = None,
    join: Annotated[
        list[str] | None,
        typer.Option("--join", metavar="tls/HOST:PORT", help="Join the cluster of this node."),
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="Token of helio token, for the first time.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Directory for what must outlive the process.")
    ] = None,
) -> None:
    """Run the server until it is interrupted; SIGHUP reads the channels' settings anew."""
    gc.disable()  # loading makes no garbage, and looking for some took a sixth of the start
    from heliograph.node.process import run

    gc.freeze()
    gc.enable()
    options: dict[str, tuple[str, object]] = {}
    if demo:
        options["demo"] = ("--demo", True)
    if role:
        options["cluster.roles"] = ("--role", role)
    if join:
        options["cluster.join"] = ("--join", join)
    if token is not None:
        options["cluster.token"] = ("--token", token)
    if state is not None:
        options["server.state_dir"] = ("--state", str(state))

    def read() -> Loaded:
        return load(config, sets=sets or (), options=options)

    run(read, greet)


def greet(server: Server) -> None:
    """Tell a person at the terminal where to look, and the administrator's key at its first day."""
    console = stderr()
    host = server.settings.server.public_host or "localhost"
    http = f"http://{host}:{server.http.port}"
    demo = "demo" if server.settings.demo else ""
    rows = [("Channels", f"{http}/"), ("Watch", f"{http}/watch/{demo or 'NAME'}")]
    if server.rtsp is not None:
        push = f"rtsp://me:KEY@{host}:{server.rtsp.port}/NAME"
        rows += [
            ("RTSP", f"rtsp://{host}:{server.rtsp.port}/{demo or 'NAME'}"),
            ("Publish", f"ffmpeg -re -i FILE -c copy -f rtsp {push}"),
        ]
    if server.https is not None:
        place = f"{_address_for_others(server)}:{server.https.port}"
        rows.insert(1, ("From other devices", f"https://{place}/"))
    if server.rtmp is not None:
        place = f"rtmp://{host}:{server.rtmp.port}/live"
        rows.append(("Publish from OBS", f"server {place}, stream key NAME?key=KEY"))
    if server.https is not None and server.https.certificate.current.own:
        # A browser warns of it once, and shows the same in its details.
        rows.append(("Certificate", f"SHA-256 {server.https.certificate.current.fingerprint}"))
    if server.cluster.active:
        rows.append(("Node", _node(server)))
    if server.key_is_new:
        rows.append(("Administrator's key", f"{server.administrator_key}   (shown this once)"))
    else:
        rows.append(("Administrator's key", f"in {server.state_dir / 'administrator.key'}"))
    console.print()
    for label, value in rows:
        console.print(f"  {label:<20}", end="", style="bold")
        console.print(value, soft_wrap=True)
    console.print()


def _node(server: Server) -> str:
    roles = ", ".join(sorted(roles_of(server.settings)))
    return f"{server.cluster.node} ({roles}), bus at port {server.settings.cluster.port}"


def _address_for_others(server: Server) -> str:
    """By which other devices on the network find this machine."""
    settings = server.settings
    if settings.server.public_host:
        return settings.server.public_host
    bound = settings.https.host
    found = str(next(iter(interfaces()), bound) if bound.is_unspecified else bound)
    return f"[{found}]" if ":" in found else found
