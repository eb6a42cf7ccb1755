#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy to which every host is this one: CONNECT, and whole URLs.

    fake_proxy.py PORT-FILE LOG-FILE [USER:SECRET [ADDRESS]]

It listens on ADDRESS (127.0.0.1); PORT-FILE gets the port's number then; LOG-FILE a line for each question: its first line, and what it shows in
Proxy-Authorization. With USER:SECRET whoever does not show that is sent away (407). Where there is a LOG-FILE.busy, it is
removed, and that question is answered 503.
"""
import asyncio, base64, os, re, sys


async def pump(a, b):
    try:
        while data := await a.read(1 << 16):
            b.write(data)
            await b.drain()
    except OSError:
        pass
    b.close()


async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return writer.close()
    first, shown = head.split("\r\n")[0], re.search(r"(?im)^proxy-authorization: (.*)\r$", head)
    with open(sys.argv[2], "a") as f:
        f.write(f"{first} {shown[1] if shown else '-'}\n")
    if os.path.exists(sys.argv[2] + ".busy"):
        os.unlink(sys.argv[2] + ".busy")
        writer.write(b"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return writer.close()
    if len(sys.argv) > 3:
        want = "Basic " + base64.b64encode(sys.argv[3].encode()).decode()
        if not shown or shown[1] != want:
            writer.write(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"p\"\r\nContent-Length: 0\r\n"
                         b"Connection: close\r\n\r\n")
            return writer.close()
    method, url, version = first.split(" ")
    to = re.fullmatch(r"(?:http://)?[^/:]+:(\d+)(/.*)?", url)
    up_reader, up_writer = await asyncio.open_connection("127.0.0.1", int(to[1]))
    if method == "CONNECT":
        writer.write(b"HTTP/1.1 200 Fine\r\n\r\n")
    else:  # one question a connection: what follows is passed on as it is
        rest = re.sub(r"(?im)^(proxy-[a-z]+|connection): .*\r\n", "", head.split("\r\n", 1)[1])
        up_writer.write(f"{method} {to[2]} HTTP/1.1\r\nConnection: close\r\n{rest}".encode())
    await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))


async def main():
    server = await asyncio.start_server(serve, sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1", 0)
    with open(sys.argv[1] + ".new", "w") as f:
        f.write(f"{server.sockets[0].getsockname()[1]}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    await server.serve_forever()


asyncio.run(main())
