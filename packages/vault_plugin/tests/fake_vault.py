"""A server that answers as Vault's documented HTTP API does, for as much of it as the plugin and its tests use.

Sources: Vault's API documentation (HTTP status codes, /sys/health, /sys/leases, /auth/token, AppRole, userpass, Kubernetes, KV 1
and 2, databases, namespaces). Times are in whole seconds, as Vault's are.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    import ssl

ROOT = "root"
#: What the policy `default` grants on a fresh server, as far as it is used here.
DEFAULT_POLICY = {
    "auth/token/lookup-self": ["read"],
    "auth/token/renew-self": ["update"],
    "auth/token/revoke-self": ["update"],
    "sys/leases/renew": ["update"],
    "sys/leases/lookup": ["update"],
}
_NEEDS = {"GET": {"read"}, "POST": {"create", "update"}, "PUT": {"create", "update"}, "DELETE": {"delete"}}


class Refusal(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, *errors: str, warnings: list[str] | None = None, data: Any = None) -> None:
        super().__init__(status, errors)
        self.status, self.errors, self.warnings, self.data = status, errors, warnings, data


@dataclass
class Token:
    id: str
    policies: list[str]
    ttl: int
    renewable: bool
    max_ttl: int = 0
    created: float = field(default_factory=time.monotonic)
    ends: float = float("inf")
    leases: set[str] = field(default_factory=set)

    def grant(self, ttl: int) -> int:
        """Let it live for another while; gives how long that is."""
        now = time.monotonic()
        if not ttl:
            return 0
        left = ttl if not self.max_ttl else min(ttl, self.created + self.max_ttl - now)
        self.ends = now + left
        return max(int(left), 0)


@dataclass
class Lease:
    id: str
    token: Token
    ttl: int
    max_ttl: int
    renewable: bool
    user: str
    created: float = field(default_factory=time.monotonic)
    ends: float = 0.0

    def grant(self) -> int:
        now = time.monotonic()
        left = min(self.ttl, self.created + self.max_ttl - now) if self.max_ttl else self.ttl
        self.ends = now + left
        return max(int(left), 0)


@dataclass
class Space:
    """What one namespace has."""

    mounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    auths: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, list[str]]] = field(default_factory=dict)


class FakeVault:
    """`await start()`, ask it, `await stop()`."""

    def __init__(self) -> None:
        self.root = f"hvs.{secrets.token_hex(12)}"
        self.spaces: dict[str, Space] = {"": Space()}
        self.tokens: dict[str, Token] = {self.root: Token(self.root, [ROOT], 0, renewable=False)}
        self.leases: dict[str, Lease] = {}
        #: Users that a database would know now.
        self.database: dict[str, str] = {}
        self.service_accounts: set[str] = set()
        self.sealed = False
        #: A status that the next so many requests get.
        self.answering: tuple[int, float] = (0, 0)
        self.retry_after: str | None = None
        self.redirect_to: str | None = None
        self.seen: list[tuple[str, str]] = []
        self.port = 0
        self._tls: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._handle)
        self._tls = tls
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost", self.port, ssl_context=tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def count(self, path: str) -> int:
        """How many requests that were no writing of secrets had this in their path."""
        return sum(path in seen for method, seen in self.seen if method != "POST" or "/data/" not in seen)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"].rstrip("/")
        self.seen.append((request.method, path))
        status, times = self.answering
        if times > 0 and not path.startswith("sys/health"):
            self.answering = (status, times - 1)
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response({"errors": [f"scripted {status}"]}, status=status, headers=headers)
        if self.redirect_to:
            raise web.HTTPTemporaryRedirect(f"{self.redirect_to}{request.rel_url}")
        try:
            body = await request.json() if request.can_read_body else {}
            answer = self._answer(request, path, body)
        except Refusal as no:
            said: dict[str, Any] = {"errors": list(no.errors)}
            if no.warnings or no.data is not None:
                said = {"request_id": str(uuid.uuid4()), "data": no.data, "warnings": no.warnings}
            return web.json_response(said, status=no.status)
        if isinstance(answer, web.StreamResponse):
            return answer
        if answer is None:
            return web.Response(status=204)
        empty = {"lease_id": "", "renewable": False, "lease_duration": 0, "data": None, "auth": None, "warnings": None}
        return web.json_response({"request_id": str(uuid.uuid4()), **empty, **answer})

    def _answer(self, request: web.Request, path: str, body: dict[str, Any]) -> Any:
        if path == "sys/health":
            return self._health(request)
        if path == "sys/seal-status":
            return web.json_response({"type": "shamir", "initialized": True, "sealed": self.sealed})
        if self.sealed:
            raise Refusal(503, "Vault is sealed")
        name = request.headers.get("X-Vault-Namespace", "").strip("/")
        space = self.spaces.get(name)
        if space is None:
            raise Refusal(404, f'namespace "{name}" not found')
        login = re.fullmatch(r"auth/(.+?)/login(?:/(.+))?", path)
        if login is not None:
            return self._log_in(space, login[1], login[2], body)
        token = self._known_token(request)
        self._authorise(space, token, request.method, path)
        for prefix, part in (
            ("auth/token/", self._token),
            ("sys/leases/", self._lease),
            ("sys/", self._system),
            ("auth/", self._auth),
        ):
            if path.startswith(prefix):
                return part(space, token, request.method, path.removeprefix(prefix), body)
        return self._engine(space, token, request, path, body)

    def _health(self, request: web.Request) -> web.Response:
        status = int(request.query.get("sealedcode", 503)) if self.sealed else 200
        body = {"initialized": True, "sealed": self.sealed, "standby": False, "version": "1.0.0-test"}
        return web.json_response(body, status=status)

    # tokens and policies

    def _known_token(self, request: web.Request) -> Token:
        token = self.tokens.get(request.headers.get("X-Vault-Token", ""))
        if token is None or token.ends <= time.monotonic():
            if token is not None:
                self._end_token(token)
            raise Refusal(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
        return token

    def _authorise(self, space: Space, token: Token, method: str, path: str) -> None:
        if ROOT in token.policies:
            return
        rules: dict[str, list[str]] = {}
        for name in token.policies:
            granted = DEFAULT_POLICY if name == "default" else space.policies.get(name, {})
            for pattern, capabilities in granted.items():
                rules.setdefault(pattern, []).extend(capabilities)
        fitting = [one for one in rules if _fits(one, path)]
        best = max(fitting, key=lambda one: (not one.endswith("*"), len(one)), default=None)
        held = set(rules[best]) if best is not None else set()
        if "deny" in held or not held & _NEEDS.get(request_method(method), set()):
            raise Refusal(403, "1 error occurred:\n\t* permission denied\n\n")

    def make_token(self, policies: list[str], ttl: int, *, renewable: bool = True, max_ttl: int = 0) -> Token:
        token = Token(f"hvs.{secrets.token_hex(12)}", policies, ttl, renewable, max_ttl)
        self.tokens[token.id] = token
        token.grant(ttl)
        return token

    def _end_token(self, token: Token) -> None:
        self.tokens.pop(token.id, None)
        for lease_id in [*token.leases]:
            self._end_lease(lease_id)

    def _granted(self, token: Token, duration: int) -> dict[str, Any]:
        return {
            "auth": {
                "client_token": token.id,
                "accessor": secrets.token_hex(6),
                "policies": token.policies,
                "token_policies": token.policies,
                "lease_duration": duration,
                "renewable": token.renewable,
                "token_type": "service",
            }
        }

    def _token(self, space: Space, token: Token, method: str, path: str, body: dict[str, Any]) -> Any:
        if path == "create":
            policies = sorted(
                {*body.get("policies", token.policies), *(() if body.get("no_default_policy") else ("default",))}
            )
            ttl, most = seconds(body.get("ttl", 3600)), seconds(body.get("explicit_max_ttl", 0))
            made = self.make_token(policies, ttl, renewable=body.get("renewable", True), max_ttl=most)
            return self._granted(made, ttl)
        if path == "lookup-self":
            endless = token.ends == float("inf")
            left = 0 if endless else max(int(token.ends - time.monotonic()), 0)
            data = {
                "id": token.id,
                "policies": token.policies,
                "ttl": left,
                "creation_ttl": token.ttl,
                "renewable": token.renewable,
                "expire_time": None if endless else "2030-01-01T00:00:00Z",
            }
            return {"data": data}
        if path == "renew-self":
            if not token.renewable:
                raise Refusal(400, "lease is not renewable")
            return self._granted(token, token.grant(token.ttl))
        if path == "revoke":
            self._end_token(self.tokens[body["token"]])
            return None
        raise Refusal(404, f'no handler for route "auth/token/{path}". route entry not found.')

    # logging in

    def _log_in(self, space: Space, mount: str, user: str | None, body: dict[str, Any]) -> Any:
        auth = space.auths.get(mount)
        if auth is None:
            raise Refusal(404, f'no handler for route "auth/{mount}/login". route entry not found.')
        if auth["type"] == "approle":
            found = next((one for one in auth["roles"].values() if one["role_id"] == body.get("role_id")), None)
            bound = found is not None and found.get("bind_secret_id", True)
            if found is None or (bound and body.get("secret_id") not in found["secret_ids"]):
                raise Refusal(400, "invalid role or secret ID")
        elif auth["type"] == "userpass":
            found = auth["roles"].get(user)
            if found is None or found["password"] != body.get("password"):
                raise Refusal(400, "invalid username or password")
        else:
            found = auth["roles"].get(body.get("role"))
            if found is None:
                raise Refusal(400, f'invalid role name "{body.get("role")}"')
            if body.get("jwt") not in self.service_accounts:
                raise Refusal(403, "permission denied")
        ttl = seconds(found.get("token_ttl", 3600))
        made = self.make_token(
            ["default", *found.get("token_policies", ())], ttl, max_ttl=seconds(found.get("token_max_ttl", 0))
        )
        return self._granted(made, ttl)

    def _auth(self, space: Space, token: Token, method: str, path: str, body: dict[str, Any]) -> Any:
        mount, _, rest = re.fullmatch(r"(.+?)/(role|users)/(.+)", path).groups()  # type: ignore[union-attr]
        roles = space.auths[mount]["roles"]
        role, _, what = rest.partition("/")
        if what == "role-id":
            return {"data": {"role_id": roles[role]["role_id"]}}
        if what == "secret-id":
            made = str(uuid.uuid4())
            roles[role]["secret_ids"].add(made)
            return {"data": {"secret_id": made, "secret_id_ttl": 0}}
        known = roles.setdefault(role, {"role_id": str(uuid.uuid4()), "secret_ids": set()})
        known.update(body)
        return None

    # the system

    def _system(self, space: Space, token: Token, method: str, path: str, body: dict[str, Any]) -> Any:
        kind, _, name = path.partition("/")
        if kind == "policies":
            name = name.removeprefix("acl/")
            granted = json.loads(body["policy"])["path"] if method != "DELETE" else {}
            space.policies[name] = {pattern: rule["capabilities"] for pattern, rule in granted.items()}
        elif kind in {"mounts", "auth"}:
            where = space.mounts if kind == "mounts" else space.auths
            if method == "DELETE":
                where.pop(name, None)
                return None
            kv2 = body["type"] == "kv" and (body.get("options") or {}).get("version") == "2"
            where[name] = {"type": "kv2" if kv2 else body["type"], "roles": {}, "data": {}}
        elif kind == "namespaces":
            self.spaces[name] = Space()
            return {"data": {"path": f"{name}/"}}
        else:
            raise Refusal(404, f'no handler for route "sys/{path}". route entry not found.')
        return None

    def _lease(self, space: Space, token: Token, method: str, path: str, body: dict[str, Any]) -> Any:
        lease = self.leases.get(body.get("lease_id", ""))
        if lease is None or lease.ends <= time.monotonic():
            raise Refusal(400, "lease not found" if path == "renew" else "invalid lease")
        if path == "lookup":
            left = int(lease.ends - time.monotonic())
            return {"data": {"id": lease.id, "renewable": lease.renewable, "ttl": left}}
        if path == "renew":
            if not lease.renewable:
                raise Refusal(400, "lease is not renewable")
            return {"lease_id": lease.id, "renewable": True, "lease_duration": lease.grant()}
        if path == "revoke":
            self._end_lease(lease.id)
            return None
        raise Refusal(404, "unsupported path")

    def _end_lease(self, lease_id: str) -> None:
        lease = self.leases.pop(lease_id, None)
        if lease is not None:
            self.database.pop(lease.user, None)
            lease.token.leases.discard(lease_id)

    # secrets

    def _engine(self, space: Space, token: Token, request: web.Request, path: str, body: dict[str, Any]) -> Any:
        mount = next((one for one in space.mounts if path.startswith(f"{one}/")), None)
        if mount is None:
            raise Refusal(404, f'no handler for route "{path}". route entry not found.')
        engine, rest = space.mounts[mount], path.removeprefix(f"{mount}/")
        part = {"kv": self._kv1, "kv2": self._kv2, "database": self._database}[engine["type"]]
        return part(engine, token, request.method, f"{mount}|{rest}", body)

    def _kv1(self, engine: dict[str, Any], token: Token, method: str, where: str, body: dict[str, Any]) -> Any:
        path = where.partition("|")[2]
        if method in {"POST", "PUT"}:
            engine["data"][path] = body
            return None
        if method == "DELETE":
            engine["data"].pop(path, None)
            return None
        if path not in engine["data"]:
            raise Refusal(404)
        return {"lease_duration": 2764800, "data": engine["data"][path]}

    def _kv2(self, engine: dict[str, Any], token: Token, method: str, where: str, body: dict[str, Any]) -> Any:
        kind, _, path = where.partition("|")[2].partition("/")
        if kind not in {"data", "metadata"} or not path:
            warning = (
                "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints"
            )
            raise Refusal(404, warnings=[warning])
        versions: list[dict[str, Any]] = engine["data"].setdefault(path, [])
        if method in {"POST", "PUT"}:
            versions.append({"data": body["data"], "deletion_time": "", "destroyed": False})
            return {"data": {"version": len(versions), "deletion_time": "", "destroyed": False}}
        if method == "DELETE":
            if kind == "metadata":
                del engine["data"][path]
            elif versions:
                versions[-1]["deletion_time"] = "2026-01-01T00:00:00Z"
            return None
        if not versions:
            raise Refusal(404)
        about = {key: versions[-1][key] for key in ("deletion_time", "destroyed")}
        if kind == "metadata":
            listed = {
                str(number): {key: one[key] for key in ("deletion_time", "destroyed")}
                for number, one in enumerate(versions, 1)
            }
            return {"data": {"current_version": len(versions), "oldest_version": 0, "versions": listed}}
        data = {"data": versions[-1]["data"], "metadata": {**about, "version": len(versions)}}
        if about["deletion_time"]:
            raise Refusal(404, data={**data, "data": None})
        return {"data": data}

    def _database(self, engine: dict[str, Any], token: Token, method: str, where: str, body: dict[str, Any]) -> Any:
        mount, _, rest = where.partition("|")
        kind, _, role = rest.partition("/")
        if kind == "roles":
            engine["roles"][role] = body
            return None
        if role not in engine["roles"]:
            raise Refusal(400, f"unknown role: {role}")
        about = engine["roles"][role]
        user, password = f"v-{role}-{next(self._numbers)}", secrets.token_hex(12)
        lease = Lease(
            f"{mount}/{rest}/{secrets.token_hex(8)}",
            token,
            seconds(about["default_ttl"]),
            seconds(about.get("max_ttl", 0)),
            about.get("renewable", True),
            user,
        )
        self.leases[lease.id] = lease
        token.leases.add(lease.id)
        self.database[user] = password
        return {
            "lease_id": lease.id,
            "renewable": lease.renewable,
            "lease_duration": lease.grant(),
            "data": {"username": user, "password": password},
        }


def request_method(method: str) -> str:
    return "GET" if method == "LIST" else method


def seconds(given: Any) -> int:
    """Vault takes numbers and texts such as `90s`."""
    text = str(given)
    return int(text.removesuffix("s")) if not text.endswith("h") else int(text[:-1]) * 3600


def _fits(pattern: str, path: str) -> bool:
    parts = "[^/]+".join(map(re.escape, pattern.removesuffix("*").split("+")))
    return re.fullmatch(parts + (".*" if pattern.endswith("*") else ""), path) is not None


if __name__ == "__main__":  # try it by hand

    async def main() -> None:
        vault = FakeVault()
        await vault.start()
        print(f"VAULT_ADDR={vault.url} VAULT_TOKEN={vault.root}")
        await asyncio.Event().wait()

    asyncio.run(main())
