"""The options of the webhook desk and of the listener that other systems post to."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ecproc.config.secret import Secret


class DeskWebhookConfig(Struct, frozen=True, kw_only=True):
    """The desk behind one signed POST, with `desk.kind = "webhook"`."""

    url: Annotated[
        str,
        Meta(description="where every call is posted; https://, or http:// on loopback; required by desk.kind webhook"),
    ] = ""
    secrets: Annotated[
        tuple[Secret, ...],
        Meta(
            description="whsec_ secrets, 8 at most: each signs, so that the receiver may verify with any of them;"
            " better: ECPROC_DESK_WEBHOOK__SECRETS_FILE, one on a line, which is read again when the file changes"
        ),
    ] = ()
    repeat: Annotated[
        Literal["keyed", "look-up", "blind"],
        Meta(
            description="why repeating a call is harmless: keyed if the receiver applies a webhook-id once and answers"
            " a repeat alike, look-up if it can be asked at lookup_url, blind if it can neither"
        ),
    ] = field(default="keyed", name="class")
    lookup_url: Annotated[
        str, Meta(description="where GET ?id=WEBHOOK-ID tells what a call led to; required by class look-up")
    ] = ""
    timeout: Annotated[float, Meta(gt=0, le=300, description="total seconds per call")] = 20.0
    ca_file: Annotated[str, Meta(description="private CA certificates (PEM) to trust instead of the system's")] = ""


class HooksConfig(Struct, frozen=True, kw_only=True):
    """The listener of its own that other systems reach: their posts, and files for the desk."""

    listen: Annotated[str, Meta(description="HOST:PORT; 0 is any free port; empty: there is no listener")] = ""
    public_url: Annotated[
        str,
        Meta(
            description="how others reach the listener, as https://hooks.example.com; with it the webhook desk is told"
            " where to fetch each file, within an hour"
        ),
    ] = ""
    rate: Annotated[
        int, Meta(ge=1, le=1_000_000, description="posts that are taken a minute and source; more get 429")
    ] = 600

    @property
    def host(self) -> str:
        """The address to bind, without the brackets of an IPv6 literal."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to bind; 0 is any free one."""
        return int(self.listen.rpartition(":")[2])


class HookSourceConfig(Struct, frozen=True, kw_only=True):
    """A system that posts to `/hooks/NAME` on the listener, NAME being `[a-z][a-z0-9]*`. Its secrets may also be set by
    variables; the rest stands in the file."""

    kind: Annotated[
        Literal["standard", "basic", "bearer"],
        Meta(description="how it shows who it is: a Standard Webhooks signature, HTTP basic, or a bearer token"),
    ] = "standard"
    secrets: Annotated[
        tuple[Secret, ...],
        Meta(description="whsec_ secrets of kind standard, 8 at most, any of which counts; in a file one on a line"),
    ] = ()
    username: Annotated[str, Meta(description="the name of kind basic")] = ""
    password: Annotated[
        Secret,
        Meta(description="its password, 16 characters or more; a file may hold two lines, either of which counts"),
    ] = Secret()
    token: Annotated[Secret, Meta(description="the token of kind bearer, likewise")] = Secret()
