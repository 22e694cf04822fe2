"""Sign-in: `/services/oauth2/token` with a JWT bearer assertion or client credentials, userinfo, identity, revoke.

Answers carry neither `expires_in` nor a refresh token. Error texts as the vendor's documentation and clients' issue
threads quote them; those for a far-off expiry and a missing assertion are ours.
"""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce.values import Answer
from tieout_lab.twins.salesforce.web import base_url

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LOGIN_URLS = ("https://login.salesforce.com", "https://test.salesforce.com")
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


@cache
def signing_key() -> rsa.RSAPrivateKey:
    """The key pair registered with the app. One a process: making one takes longer than most tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """The private key as the client gets it (PKCS #8, PEM)."""
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


class SignInError(Exception):
    """`{"error", "error_description"}` with a 400."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


class SignIn:
    """The app registered with the org and the sign-in resources."""

    def __init__(self, twin: RestTwin, *, consumer_key: str, client_secret: str, username: str) -> None:
        self.twin = twin
        self.consumer_key = consumer_key
        self.client_secret = client_secret
        self.username = username
        self.key = signing_key()
        self.approved = True
        self.audiences = list(LOGIN_URLS)
        twin.public("POST", "/services/oauth2/token", "token", self.token)
        twin.public("GET", "/services/oauth2/token", "token_get", self.token_by_get)
        twin.public("GET", "/services/oauth2/userinfo", "userinfo", self.userinfo)
        twin.public("POST", "/services/oauth2/revoke", "revoke", self.revoke)
        twin.public("GET", "/id/{org}/{user}", "identity", self.identity)

    def token(self, request: Request) -> Answer:
        try:
            form = dict(request.form())
        except (UnicodeDecodeError, ValueError):
            form = {}
        try:
            grant = form.get("grant_type", "")
            if grant == JWT_BEARER:
                self._check_assertion(request, form.get("assertion", ""))
                scope = "api web"
            elif grant == "client_credentials":
                self._check_credentials(request, form)
                scope = "api"
            else:
                raise SignInError("unsupported_grant_type", "grant type not supported")
        except SignInError as error:
            return Answer(400, {"error": error.error, "error_description": error.description}, _NO_STORE)
        return Answer(200, self._granted(request, scope, jwt=grant == JWT_BEARER), _NO_STORE)

    def token_by_get(self, request: Request) -> Answer:
        del request
        return Answer(400, {"error": "invalid_request", "error_description": "must use HTTP POST"}, _NO_STORE)

    def _granted(self, request: Request, scope: str, *, jwt: bool) -> dict[str, Any]:
        base, org = base_url(request), self.twin.org
        body: dict[str, Any] = {
            "access_token": self.twin.sessions.open(org.integration_id),
            "scope": scope,
            "instance_url": base,
            "id": f"{base}/id/{org.org_id}/{org.integration_id}",
            "token_type": "Bearer",
        }
        if not jwt:
            issued = str(int(org.clock.technical().timestamp() * 1000))
            signature = base64.b64encode(issued.encode().ljust(32, b"=")).decode()
            body |= {"signature": signature, "issued_at": issued, "api_instance_url": base}
        return body

    def _check_credentials(self, request: Request, form: dict[str, str]) -> None:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, coded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client, _, secret = base64.b64decode(coded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise SignInError("invalid_client", "invalid client credentials") from None
            client, secret = unquote(client), unquote(secret)
        if client != self.consumer_key:
            raise SignInError("invalid_client_id", "client identifier invalid")
        if secret != self.client_secret:
            raise SignInError("invalid_client", "invalid client credentials")
        if not self.approved:
            raise SignInError("invalid_grant", "no client credentials user enabled")

    def _check_assertion(self, request: Request, assertion: str) -> None:
        header, claims, signed, signature = _parts(assertion)
        if claims.get("iss") != self.consumer_key:
            raise SignInError("invalid_client_id", "client identifier invalid")
        if header.get("alg") != "RS256" or not self._verifies(signed, signature):
            raise SignInError("invalid_grant", "invalid assertion")
        given = claims.get("aud")
        audience = given[0] if isinstance(given, list) and len(given) == 1 else given
        host = base_url(request).partition("://")[2]
        known = {*self.audiences, f"http://{host}", f"https://{host}"}
        if (
            not isinstance(audience, str)
            or audience.rstrip("/").removesuffix("/services/oauth2/token") not in known
        ):
            raise SignInError("invalid_grant", "audience is invalid")
        expires, now = claims.get("exp"), self.twin.clock.technical().timestamp()
        if isinstance(expires, str) and expires.isdigit():
            expires = int(expires)
        if not isinstance(expires, int | float) or isinstance(expires, bool) or expires > now + 300:
            raise SignInError("invalid_grant", "invalid assertion")
        if expires <= now:
            raise SignInError("invalid_grant", "expired authorization code")
        if claims.get("sub") != self.username or not self.approved:
            raise SignInError("invalid_grant", "user hasn't approved this consumer")

    def _verifies(self, signed: bytes, signature: bytes) -> bool:
        try:
            self.key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def userinfo(self, request: Request) -> Answer:
        if self.twin.sessions.of(request) is None:
            return Answer(403, "Bad_OAuth_Token")
        return Answer(200, {"sub": self._identity_url(request), **self._person(), **self._places(request)})

    def identity(self, request: Request) -> Answer:
        if self.twin.sessions.of(request) is None:
            return Answer(403, "Bad_OAuth_Token")
        org = self.twin.org
        if (request.params["org"], request.params["user"]) != (org.org_id, org.integration_id):
            return Answer(404, "Not_Found")
        about = {"id": self._identity_url(request), "asserted_user": True, "username": self.username}
        return Answer(200, {**about, **self._person(), **self._places(request)})

    def revoke(self, request: Request) -> Answer:
        form = dict(request.form())
        self.twin.sessions.close(form.get("token", ""))
        return Answer(200)

    def _identity_url(self, request: Request) -> str:
        org = self.twin.org
        return f"{base_url(request)}/id/{org.org_id}/{org.integration_id}"

    def _person(self) -> dict[str, Any]:
        org = self.twin.org
        user = org.store.get("User", org.integration_id) or {}
        return {
            "user_id": org.integration_id,
            "organization_id": org.org_id,
            "preferred_username": self.username,
            "name": user.get("Name"),
            "email": user.get("Email"),
            "zoneinfo": user.get("TimeZoneSidKey"),
            "locale": user.get("LocaleSidKey"),
            "user_type": "STANDARD",
            "active": True,
            "is_app_installed": True,
        }

    def _places(self, request: Request) -> dict[str, Any]:
        data = f"{base_url(request)}/services/data/v{{version}}"
        urls = {"rest": f"{data}/", "sobjects": f"{data}/sobjects/", "query": f"{data}/query/"}
        return {"urls": {**urls, "custom_domain": base_url(request)}}


def _parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, claims, signed bytes and signature of a compact JWT."""
    pieces = assertion.split(".")
    try:
        header, claims, signature = (_unpadded(piece) for piece in pieces)
        read = msgspec.json.decode(header), msgspec.json.decode(claims)
    except (ValueError, binascii.Error, UnicodeEncodeError, msgspec.DecodeError):
        raise SignInError("invalid_grant", "invalid assertion") from None
    if not isinstance(read[0], dict) or not isinstance(read[1], dict):
        raise SignInError("invalid_grant", "invalid assertion")
    return read[0], read[1], ".".join(pieces[:2]).encode(), signature


def _unpadded(piece: str) -> bytes:
    return base64.b64decode(piece.encode("ascii") + b"=" * (-len(piece) % 4), altchars=b"-_", validate=True)
