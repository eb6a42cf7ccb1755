#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A registry that misbehaves on request: OCI distribution-spec 1.1, pull and push.

    fake_registry.py [--host ADDRESS] [--port N] [--port-file FILE] [--serve REPO=LAYOUT]... [--dir DIR]
                     [--auth none|basic|bearer] [--user NAME:SECRET] [--identity-token T] [--token-ttl S]
                     [--realm URL] [--tls CERT KEY] [--client-ca CA] [--fault JSON]...

ADDRESS is 127.0.0.1. Port 0 (the default) takes a free one; FILE gets its number once it listens. LAYOUT is an OCI layout: its blobs,
and a tag for each org.opencontainers.image.ref.name of its index.json. What is pushed is kept in DIR, or in memory.

Faults are rules, tried in order on each request; the first that matches acts:

    {"do": WHAT, "method": REGEX, "path": REGEX, "skip": N, "times": N, ...}

method and path must match whole (default: all but /_ctl/, /v2/ and /token; name those to have them); the first `skip` matches
pass (0), then `times` are met (1; -1: all). WHAT:
    stall {after}         N bytes of the body (0), then nothing, until the client goes away
    reset {after}         the same, then a TCP reset        close {after}   then an orderly end
    slow {rate}           bytes a second                    corrupt {at}    one byte changed
    status {code, headers, body}   that answer              headers {headers, fill}   added; fill: bytes of junk
    length {delta}        Content-Length is off by that     longer {n}      N bytes more, and it says so
    redirect {to, code}   {path} in `to` is the path asked for; code 307    loop   to itself
    norange               200 and the whole, whatever was asked
    badrange {value}      206 with that Content-Range
    expire                every token so far is void
    nodigest              no Docker-Content-Digest          nolength        chunked, no Content-Length
    chunk {min}           an upload's answer has OCI-Chunk-Min-Length, and PUT with the whole is refused (413)

Its own files, without authentication:
    POST /_ctl/fault      adds a rule            POST /_ctl/reset    removes all rules, empties the log
    POST /_ctl/expire     voids tokens           GET  /_ctl/log      requests so far, JSON Lines {method, path,
                                                   range, auth (scheme), status, host, port (the client's), sent}
"""
import argparse, base64, hashlib, json, os, re, secrets, socket, ssl, struct, sys, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ARGS = None
LOCK = threading.Lock()


class Store:
    """Blobs of all repositories together, tags by repository."""

    def __init__(self, directory):
        self.dir, self.mem, self.paths, self.tags, self.types, self.repos = directory, {}, {}, {}, {}, {}
        if directory:
            os.makedirs(directory + "/blobs", exist_ok=True)

    def add(self, repo, digest, data, media_type=None):
        with LOCK:
            if self.dir:
                path = f"{self.dir}/blobs/{digest[7:]}"
                with open(path, "wb") as f:
                    f.write(data)
                self.paths[digest] = path
            else:
                self.mem[digest] = data
            self.repos.setdefault(repo, set()).add(digest)
            if media_type:
                self.types[digest] = media_type

    def layout(self, repo, path):
        for name in os.listdir(path + "/blobs/sha256"):
            self.paths["sha256:" + name] = f"{path}/blobs/sha256/{name}"
            self.repos.setdefault(repo, set()).add("sha256:" + name)
        with open(path + "/index.json", "rb") as f:
            raw = f.read()
        for m in json.loads(raw)["manifests"]:
            self.types[m["digest"]] = m["mediaType"]
            tag = m.get("annotations", {}).get("org.opencontainers.image.ref.name")
            if tag:
                self.tags[repo, tag.rsplit(":", 1)[-1]] = m["digest"]

    def has(self, repo, digest):
        return digest in self.repos.get(repo, ())

    def size(self, digest):
        return len(self.mem[digest]) if digest in self.mem else os.path.getsize(self.paths[digest])

    def read(self, digest, start, end):
        if digest in self.mem:
            return self.mem[digest][start:end]
        with open(self.paths[digest], "rb") as f:
            f.seek(start)
            return f.read(end - start)

    def type(self, digest):
        if digest not in self.types:
            try:
                doc = json.loads(self.read(digest, 0, 4 << 20))
                self.types[digest] = doc.get("mediaType") or "application/vnd.oci.image.%s.v1+json" % (
                    "index" if "manifests" in doc else "manifest")
            except ValueError:
                self.types[digest] = "application/octet-stream"
        return self.types[digest]


class State:
    def __init__(self):
        self.rules, self.log, self.tokens, self.uploads = [], [], {}, {}


STATE = State()
STORE = None


def add_rule(text):
    rule = json.loads(text)
    rule.setdefault("times", 1)
    with LOCK:
        STATE.rules.append(rule)


def rule_for(method, path):
    with LOCK:
        for r in STATE.rules:
            if not re.fullmatch(r.get("method", ".*"), method):
                continue
            if not re.fullmatch(r.get("path", "(?!/_ctl/|/token|/v2/$).*"), path) or not r["times"]:
                continue
            if r.get("skip", 0) > 0:
                r["skip"] -= 1
                continue
            if r["times"] > 0:
                r["times"] -= 1
            if r["do"] == "expire":
                STATE.tokens.clear()
                return None
            return r
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    # ---- answering

    def answer(self, code, body=b"", headers=(), total=None, reader=None):
        """Sends code, headers and a body (reader(start, end) of `total` bytes, or bytes), with the rule's fault."""
        rule, do = self.rule, (self.rule or {}).get("do")
        if reader is None:
            total, reader = len(body), lambda a, b: body[a:b]
        start, end = getattr(self, "window", None) or (0, total)
        length = end - start
        headers = dict(headers)
        headers.setdefault("Docker-Distribution-Api-Version", "registry/2.0")
        if do == "headers":
            headers.update(rule.get("headers", {}))
            for i in range(rule.get("fill", 0) // 1000):
                headers[f"X-Fill-{i}"] = "x" * 980
        if do == "nodigest":
            headers.pop("Docker-Content-Digest", None)
        if do == "length":
            headers["Content-Length"] = str(length + rule["delta"])
        elif do == "longer":
            headers["Content-Length"] = str(length + rule["n"])
        elif do == "nolength":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(length)
        self.record(code)
        self.send_response(code)
        for k, v in headers.items():
            self.send_header(k, v)
        self.end_headers()
        if self.command == "HEAD" or code == 304:
            return
        stop = start + rule.get("after", 0) if do in ("stall", "reset", "close") else end
        at = start
        while at < min(stop, end):
            piece = reader(at, min(at + (rule.get("rate", 1 << 18) if do == "slow" else 1 << 18), stop, end))
            if do == "corrupt" and at <= rule.get("at", 0) < at + len(piece):
                i = rule.get("at", 0) - at
                piece = piece[:i] + bytes([piece[i] ^ 1]) + piece[i + 1:]
            if do == "nolength":
                piece_out = b"%x\r\n%s\r\n" % (len(piece), piece)
            else:
                piece_out = piece
            self.wfile.write(piece_out)
            self.entry["sent"] = self.entry.get("sent", 0) + len(piece)
            at += len(piece)
            if do == "slow":
                time.sleep(1)
        if do == "nolength":
            self.wfile.write(b"0\r\n\r\n")
        if do == "longer":
            self.wfile.write(b"x" * rule["n"])
        if do == "length":
            self.close_connection = True
        if do == "stall":
            try:  # until the other end gives up
                while self.connection.recv(4096):
                    pass
            except OSError:
                pass
            self.close_connection = True
        if do == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        if do == "close":
            self.close_connection = True

    def record(self, code):
        auth = self.headers.get("Authorization")
        self.entry = {"method": self.command, "path": self.path, "range": self.headers.get("Range"),
                      "auth": auth.split()[0] if auth else None, "status": code, "host": self.headers.get("Host"), "port": self.client_address[1]}
        with LOCK:
            STATE.log.append(self.entry)

    def error(self, code, name, message, headers=()):
        h = {"Content-Type": "application/json"}
        h.update(headers)
        self.answer(code, json.dumps({"errors": [{"code": name, "message": message}]}).encode(), h)

    # ---- who asks

    def user_ok(self):
        auth = self.headers.get("Authorization", "")
        if not auth.startswith("Basic "):
            return False
        try:
            return base64.b64decode(auth[6:]).decode() == ARGS.user
        except ValueError:
            return False

    def base(self):
        return f"{'https' if ARGS.tls else 'http'}://{self.headers.get('Host')}"

    def allowed(self, repo, action):
        if ARGS.auth == "none":
            return True
        if ARGS.auth == "basic":
            if self.user_ok():
                return True
            self.error(401, "UNAUTHORIZED", "authentication required",
                       {"Www-Authenticate": 'Basic realm="fake \\"registry\\""'})
            return False
        auth = self.headers.get("Authorization", "")
        token = STATE.tokens.get(auth[7:]) if auth.startswith("Bearer ") else None
        scope = f',scope="repository:{repo}:{action}"' if repo else ""
        if token and token["until"] > time.monotonic():
            if not repo:
                return True
            for s in token["scopes"]:
                kind, name, actions = s.rsplit(":", 2) if s.count(":") >= 2 else (s, "", "")
                if f"{kind}:{name}" == f"repository:{repo}" and all(a in actions.split(",") for a in action.split(",")):
                    return True
            why = ',error="insufficient_scope"'
        else:
            why = ',error="invalid_token"' if auth else ""
        realm = ARGS.realm or self.base() + "/token"
        self.error(401, "UNAUTHORIZED", "authentication required",
                   {"Www-Authenticate": f'Bearer realm="{realm}",service="fake"{scope}{why}'})
        return False

    def grant(self, scopes):
        token = secrets.token_urlsafe(24)
        with LOCK:
            STATE.tokens[token] = {"scopes": scopes, "until": time.monotonic() + ARGS.token_ttl}
        return token

    def do_token(self, query, form):
        if form is not None:
            if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [ARGS.identity_token]:
                return self.error(401, "UNAUTHORIZED", "that identity token is not known")
            scopes = form.get("scope", [""])[0].split()
            body = {"access_token": self.grant(scopes), "expires_in": ARGS.token_ttl}
        else:
            if ARGS.user and not self.user_ok() and (self.headers.get("Authorization") or not ARGS.anonymous):
                return self.error(401, "UNAUTHORIZED", "incorrect username or password")
            scopes = [t for s in query.get("scope", []) for t in s.split()]
            if not self.headers.get("Authorization"):
                scopes = [s.rsplit(":", 1)[0] + ":pull" for s in scopes]
            body = {"token": self.grant(scopes), "expires_in": ARGS.token_ttl}
        return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    # ---- what is asked

    def handle_one(self):
        self.window, self.entry, self.rule = None, {}, None
        url = urllib.parse.urlsplit(self.path)
        self.url_path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query)
        if self.url_path.startswith("/_ctl/"):
            return self.control()
        self.rule = rule_for(self.command, self.url_path)
        do = (self.rule or {}).get("do")
        if do == "status":
            self.drain()
            r = self.rule
            return self.answer(r["code"], r.get("body", "").encode(), r.get("headers", {}))
        if do in ("redirect", "loop"):
            self.drain()
            to = self.rule.get("to", "{path}").replace("{path}", self.path)
            return self.answer(self.rule.get("code", 307), b"", {"Location": to})
        if self.url_path == "/token":
            form = urllib.parse.parse_qs(self.body().decode()) if self.command == "POST" else None
            return self.do_token(query, form)
        if self.url_path in ("/v2", "/v2/"):
            return self.answer(200, b"{}") if self.allowed("", "") else None
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs|blobs/uploads)/([^/]*)", self.url_path)
        if not m:
            self.drain()
            return self.error(404, "NOT_FOUND", "no such path")
        repo, kind, name = m.groups()
        if not self.allowed(repo, "pull" if self.command in ("GET", "HEAD") else "pull,push"):
            return None
        if kind == "blobs/uploads":
            return self.upload(repo, name, query)
        if kind == "manifests" and self.command == "PUT":
            data = self.body()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            STORE.add(repo, digest, data, self.headers.get("Content-Type"))
            if not name.startswith("sha256:"):
                STORE.tags[repo, name] = digest
            return self.answer(201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{repo}/manifests/{digest}"})
        digest = name if name.startswith("sha256:") else STORE.tags.get((repo, name))
        if not digest or not STORE.has(repo, digest):
            what = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
            return self.error(404, what, f"{name} is not known")
        headers = {"Docker-Content-Digest": digest, "Content-Type":
                   STORE.type(digest) if kind == "manifests" else "application/octet-stream"}
        total, code = STORE.size(digest), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked and kind == "blobs" and do != "norange":
            a, b = int(asked[1]), min(int(asked[2] or total - 1), total - 1) + 1
            if a >= total:
                return self.error(416, "RANGE", "beyond the end", {"Content-Range": f"bytes */{total}"})
            self.window, code = (a, b), 206
            headers["Content-Range"] = self.rule["value"] if do == "badrange" else f"bytes {a}-{b - 1}/{total}"
        return self.answer(code, headers=headers, total=total, reader=lambda x, y: STORE.read(digest, x, y))

    def upload(self, repo, name, query):
        do = (self.rule or {}).get("do")
        if self.command == "POST":
            self.drain()
            mount, source = query.get("mount", [None])[0], query.get("from", [None])[0]
            if mount and source and STORE.has(source, mount):
                if not self.allowed(source, "pull"):
                    return None
                with LOCK:
                    STORE.repos.setdefault(repo, set()).add(mount)
                return self.answer(201, b"", {"Docker-Content-Digest": mount, "Location": f"/v2/{repo}/blobs/{mount}"})
            session = secrets.token_hex(16)
            STATE.uploads[session] = {"data": bytearray(), "chunked": do == "chunk"}
            headers = {"Location": f"/v2/{repo}/blobs/uploads/{session}?state=a%20b", "Range": "0-0"}
            if do == "chunk":
                headers["OCI-Chunk-Min-Length"] = str(self.rule.get("min", 1))
            return self.answer(202, b"", headers)
        up = STATE.uploads.get(name)
        if up is None:
            self.drain()
            return self.error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        where = {"Location": f"/v2/{repo}/blobs/uploads/{name}?state=c"}
        if self.command == "DELETE":
            del STATE.uploads[name]
            return self.answer(204)
        size = int(self.headers.get("Content-Length") or 0)
        if up["chunked"] and self.command == "PUT" and size:
            self.drain()
            return self.error(413, "SIZE_INVALID", "in pieces, please")
        if do in ("stall", "reset") and size:  # some of the body is read, then nothing more
            self.rfile.read(min(size, self.rule.get("after", 0)))
            self.record(0)
            if do == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            else:
                time.sleep(self.rule.get("seconds", 3600))
            self.close_connection = True
            return None
        if self.command == "PATCH":
            asked = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range") or "0-0")
            data = self.body()
            if self.headers.get("Content-Range") and int(asked[1]) != len(up["data"]):
                return self.error(416, "RANGE", "not where the last one ended")
            up["data"] += data
            where["Range"] = f"0-{len(up['data']) - 1}"
            return self.answer(202, b"", where)
        if self.command == "PUT":
            up["data"] += self.body()
            digest = query.get("digest", [""])[0]
            if "sha256:" + hashlib.sha256(up["data"]).hexdigest() != digest:
                return self.error(400, "DIGEST_INVALID", "the digest is another")
            STORE.add(repo, digest, bytes(up["data"]))
            del STATE.uploads[name]
            return self.answer(201, b"", {"Docker-Content-Digest": digest, "Location": f"/v2/{repo}/blobs/{digest}"})
        where["Range"] = f"0-{max(len(up['data']) - 1, 0)}"
        return self.answer(204, b"", where)

    def control(self):
        what = self.url_path[len("/_ctl/"):]
        body = self.body().decode() if self.command == "POST" else ""
        out = b""
        with LOCK:
            if what == "reset":
                STATE.rules.clear()
                STATE.log.clear()
            elif what == "expire":
                STATE.tokens.clear()
            elif what == "log":
                out = "".join(json.dumps(e) + "\n" for e in STATE.log).encode()
        if what == "fault":
            add_rule(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            out = bytearray()
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if not n:
                    return bytes(out)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def drain(self):
        self.body()

    def handle_safe(self):
        try:
            self.handle_one()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_safe


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def finish_request(self, request, client_address):
        if ARGS.tls:  # here, in the connection's own thread: a handshake that never ends holds up nobody
            request = CONTEXT.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


CONTEXT = None


def main():
    global ARGS, STORE, CONTEXT
    p = argparse.ArgumentParser()
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--port-file")
    p.add_argument("--serve", action="append", default=[])
    p.add_argument("--dir")
    p.add_argument("--auth", choices=["none", "basic", "bearer"], default="none")
    p.add_argument("--user")
    p.add_argument("--anonymous", action="store_true", help="the token server grants pull to everybody")
    p.add_argument("--identity-token")
    p.add_argument("--token-ttl", type=float, default=300)
    p.add_argument("--realm")
    p.add_argument("--tls", nargs=2)
    p.add_argument("--client-ca")
    p.add_argument("--fault", action="append", default=[])
    ARGS = p.parse_args()
    STORE = Store(ARGS.dir)
    for spec in ARGS.serve:
        STORE.layout(*spec.split("=", 1))
    for rule in ARGS.fault:
        add_rule(rule)
    if ARGS.tls:
        CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CONTEXT.load_cert_chain(*ARGS.tls)
        if ARGS.client_ca:
            CONTEXT.load_verify_locations(ARGS.client_ca)
            CONTEXT.verify_mode = ssl.CERT_REQUIRED
    server = Server((ARGS.host, ARGS.port), Handler)
    port = server.server_address[1]
    if ARGS.port_file:
        with open(ARGS.port_file + ".new", "w") as f:
            f.write(f"{port}\n")
        os.rename(ARGS.port_file + ".new", ARGS.port_file)
    else:
        print(port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
