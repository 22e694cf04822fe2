"""OAuth 2.0 client credentials with a signed JWT, checked against the registered certificate's public key.

Written on `cryptography` alone: the checks of a JWT library the client may use are not taken for granted here.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request, Response

TOKEN_PATH = "/services/rest/auth/oauth2/v1/token"  # noqa: S105 - a path
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
APPLICATION = "7A0C2D9E-1F3B-4C55-9E21-5B8D6A7F0C11"
LIFETIME_SECONDS = 3600
LONGEST_ASSERTION = timedelta(minutes=60)
LEEWAY = timedelta(minutes=2)
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_COORDINATE = {"256": 32, "384": 48, "512": 66}


class Denied(Exception):
    """A refused token request: the OAuth error code and, for the twin's log, the reason."""

    def __init__(self, error: str, reason: str, status: int = 400) -> None:
        super().__init__(f"{error}: {reason}")
        self.error, self.reason, self.status = error, reason, status


@dataclass(slots=True)
class Credentials:
    """One integration, certificate and key pair. `algorithm` is the one to sign with."""

    account: str
    client_id: str
    certificate_id: str
    algorithm: str
    private_key: str
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def issue_credentials(account: str, key_type: str) -> Credentials:
    """A fresh key pair: "EC" (P-256, quick) or "RSA" (3072 bits)."""
    if key_type == "RSA":
        private: Any = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    elif key_type == "EC":
        private = ec.generate_private_key(ec.SECP256R1())
    else:
        raise ValueError(f"key type {key_type!r}; known: EC, RSA")
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(
        account=account,
        client_id=hashlib.sha256(f"{account}/client".encode()).hexdigest(),
        certificate_id="cert-" + hashlib.sha256(pem).hexdigest()[:24],
        algorithm="PS256" if key_type == "RSA" else "ES256",
        private_key=pem.decode(),
        public_key=private.public_key(),
    )


class TokenDesk:
    """Gives out access tokens and knows which ones still hold."""

    def __init__(self, credentials: Credentials, clock: TwinClock) -> None:
        self.credentials = credentials
        self.clock = clock
        self.tokens: dict[str, datetime] = {}
        self.refusals: list[str] = []
        self.revoked = False
        self.serial = 0

    def holds(self, authorization: str | None) -> bool:
        """Whether an Authorization header carries a token that has not expired."""
        scheme, _, token = (authorization or "").partition(" ")
        expiry = self.tokens.get(token.strip())
        return scheme.lower() == "bearer" and expiry is not None and self.clock.technical() < expiry

    def revoke(self) -> int:
        """Make every token given so far invalid; answers how many there were."""
        count = len(self.tokens)
        self.tokens.clear()
        return count

    async def token(self, request: Request) -> Response:
        """POST of the token endpoint. Answers `{access_token, expires_in, token_type}`; expires_in is a string."""
        try:
            self._check(request)
        except Denied as denied:
            self.refusals.append(str(denied))
            return Response(denied.status, {"error": denied.error})
        token = self._issue()
        return Response(
            200, {"access_token": token, "expires_in": str(LIFETIME_SECONDS), "token_type": "bearer"}
        )

    def _issue(self) -> str:
        """A token of the documented structure: `aud` names application and account, then the client id. Its
        signature is the vendor's own business; here it is only filled in."""
        self.serial += 1
        now = self.clock.technical()
        account = self.credentials.account
        header = {"kid": f"{account}.access", "typ": "JWT", "alg": "PS256"}
        payload = {
            "sub": "3;1001",
            "aud": [f"{APPLICATION};{account}", self.credentials.client_id],
            "scope": ["restlets", "rest_webservices"],
            "iss": "https://system.netsuite.com",
            "exp": int(now.timestamp()) + LIFETIME_SECONDS,
            "iat": int(now.timestamp()),
            "jti": f"{account}.a-{self.serial}",
        }
        signed = f"{_base64(msgspec.json.encode(header))}.{_base64(msgspec.json.encode(payload))}"
        seed = f"{self.credentials.certificate_id}|{signed}".encode()
        token = f"{signed}.{_base64(hashlib.shake_256(seed).digest(384))}"
        self.tokens[token] = now + timedelta(seconds=LIFETIME_SECONDS)
        return token

    def _check(self, request: Request) -> None:
        if "application/x-www-form-urlencoded" not in request.headers.get("content-type", ""):
            raise Denied("invalid_request", "the body is no form")
        form = dict(request.form())
        if form.get("grant_type") != "client_credentials":
            raise Denied("unsupported_grant_type", f"grant_type {form.get('grant_type')!r}")
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise Denied("invalid_request", "client_assertion_type")
        claims = self._verified(form.get("client_assertion", ""))
        if claims.get("iss") != self.credentials.client_id:
            raise Denied("invalid_client", "iss is no known client id", 401)
        scope = claims.get("scope")
        scopes = scope if isinstance(scope, list) else str(scope or "").replace(" ", ",").split(",")
        if "rest_webservices" not in scopes:
            raise Denied("invalid_scope", f"scope {scope!r} has no rest_webservices")
        if set(scopes) - {"rest_webservices", "restlets", "suite_analytics"}:
            raise Denied("invalid_scope", f"scope {scope!r}")
        host = request.headers.get("host", "")
        audiences = claims.get("aud")
        addressed = {f"http://{host}{TOKEN_PATH}", f"https://{host}{TOKEN_PATH}"}
        if not addressed & set(audiences if isinstance(audiences, list) else [audiences]):
            raise Denied("invalid_grant", f"aud {audiences!r} is not the token URL")
        self._check_times(claims)

    def _check_times(self, claims: dict[str, Any]) -> None:
        issued, expires = claims.get("iat"), claims.get("exp")
        if not isinstance(issued, int) or not isinstance(expires, int):
            raise Denied("invalid_grant", "iat and exp must be whole seconds")
        now = int(self.clock.technical().timestamp())
        leeway = int(LEEWAY.total_seconds())
        if expires > issued + int(LONGEST_ASSERTION.total_seconds()):
            raise Denied("invalid_grant", "exp is more than 60 minutes after iat")
        if expires <= now - leeway or issued > now + leeway:
            raise Denied("invalid_grant", f"assertion of {issued} to {expires} does not hold at {now}")

    def _verified(self, assertion: str) -> dict[str, Any]:
        """The claims of a JWT whose signature is right. Raises Denied."""
        parts = assertion.split(".")
        if len(parts) != 3:
            raise Denied("invalid_request", "client_assertion is no JWT")
        try:
            header = msgspec.json.decode(_unbase64(parts[0]))
            claims = msgspec.json.decode(_unbase64(parts[1]))
            signature = _unbase64(parts[2])
        except ValueError as error:  # msgspec.DecodeError and binascii.Error are ValueErrors
            raise Denied("invalid_request", "client_assertion cannot be read") from error
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise Denied("invalid_request", "client_assertion cannot be read")
        if header.get("kid") != self.credentials.certificate_id or self.revoked:
            raise Denied(
                "invalid_client", f"kid {header.get('kid')!r} is no certificate of this account", 401
            )
        algorithm = str(header.get("alg"))
        message = f"{parts[0]}.{parts[1]}".encode()
        try:
            self._verify(algorithm, signature, message)
        except InvalidSignature as error:
            raise Denied("invalid_client", "the signature does not match the certificate", 401) from error
        return claims

    def _verify(self, algorithm: str, signature: bytes, message: bytes) -> None:
        key, family, bits = self.credentials.public_key, algorithm[:2], algorithm[2:]
        chosen = _HASHES.get(bits)
        if family not in ("PS", "ES") or chosen is None:
            raise Denied("invalid_request", f"alg {algorithm} is not accepted")
        if family == "PS" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PSS(padding.MGF1(chosen), chosen.digest_size), chosen)
            return
        size = _COORDINATE[bits]
        if family == "ES" and isinstance(key, ec.EllipticCurvePublicKey) and len(signature) == 2 * size:
            r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(chosen))
            return
        raise InvalidSignature


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unbase64(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
