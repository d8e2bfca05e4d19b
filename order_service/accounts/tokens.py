"""Access tokens: JWTs signed with SECRET_KEY.

python-jose trusts too much by default (RFC 8725 lists the necessary checks): it takes the algorithm
from the token, accepts missing claims, ignores `typ` and `crit`, and raises any exception on odd
input. So this module checks the shape of a token before the library sees it and its header
afterwards, and takes every exception as "invalid". No other module uses the library.
"""

import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from uuid import UUID, uuid4

from jose import jwk, jwt
from jose.exceptions import ExpiredSignatureError

from order_service import limits
from order_service.settings import Settings

Role = Literal["customer", "staff", "admin"]
TokenRole = Role | Literal["guest"]
ROLES: tuple[Role, ...] = get_args(Role)
_TOKEN_ROLES = (*ROLES, "guest")

ISSUER = AUDIENCE = "order-service"
TYPE = "at+jwt"  # RFC 9068: no other kind of token signed with this key passes as an access token
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_OPTIONS = {
    **{f"require_{claim}": True for claim in ("exp", "nbf", "iat", "iss", "aud", "sub", "jti")},
    "leeway": limits.TOKEN_LEEWAY_S,
}


class TokenInvalid(Exception):
    """Not a valid access token, for any reason."""


class TokenExpired(TokenInvalid):
    """A valid access token that has expired."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """The claims of a verified token; `expires_at`: seconds since the epoch. `user_id`: for the
    role guest, the id of the one order that the token reads."""

    user_id: UUID
    role: TokenRole
    expires_at: float


class AccessTokens:
    """Issues and verifies tokens without a database query."""

    def __init__(self, settings: Settings) -> None:
        self._algorithm: str = settings.ALGORITHM
        # Built once: given a string, python-jose first tries to parse it as JSON, every time.
        self._key = jwk.construct(settings.SECRET_KEY, settings.ALGORITHM)
        self.lifetime_s = settings.ACCESS_TOKEN_EXPIRE_MINUTES * 60
        self._verified: OrderedDict[str, AccessToken] = OrderedDict()

    def issue(self, user_id: UUID, role: Role) -> str:
        return self._issue(user_id, role, self.lifetime_s)

    def issue_for_order(self, order_id: UUID) -> str:
        """For a guest: reads this order only."""
        return self._issue(order_id, "guest", limits.LOOK_UP_TOKEN_S)

    def _issue(self, subject: UUID, role: TokenRole, lifetime_s: int) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(subject),
            "role": role,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime_s,
            "jti": uuid4().hex,
        }
        return cast(str, jwt.encode(claims, self._key, self._algorithm, headers={"typ": TYPE}))

    def verify(self, token: str) -> AccessToken:
        """The token's claims. Raises TokenExpired or TokenInvalid."""
        remembered = self._verified.get(token)
        if remembered is not None and time.time() < remembered.expires_at:
            return remembered
        try:
            verified = self._decode(token)
        except ExpiredSignatureError as error:
            raise TokenExpired from error
        except Exception as error:  # crafted tokens cause RecursionError, TypeError and others
            raise TokenInvalid from error
        self._verified[token] = verified
        if len(self._verified) > limits.TOKENS_REMEMBERED_MAX:
            self._verified.popitem(last=False)
        return verified

    def _decode(self, token: str) -> AccessToken:
        if len(token) > limits.TOKEN_LENGTH_MAX or not _SHAPE.fullmatch(token):
            raise ValueError("not a signed token")
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[self._algorithm],  # a list: a string would be searched for a substring
            audience=AUDIENCE,
            issuer=ISSUER,
            options=_OPTIONS,
        )
        header = jwt.get_unverified_header(token)  # the signature, verified above, covers it
        if header.get("typ") != TYPE or "crit" in header or claims["role"] not in _TOKEN_ROLES:
            raise ValueError("a token of another kind")
        return AccessToken(UUID(claims["sub"]), claims["role"], float(claims["exp"]))
