#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two images, as OCI layouts, that share nine files of ten and no layer: sharing.py DIRECTORY

-> DIRECTORY/{a,b}, tagged `t`. Prints, for a and for b after a: bytes that packs must grow by, contents of files
(each 4 KiB aligned, the same bytes once, those that the index holds itself not at all), and the number of them.
"""
import gzip
import hashlib
import io
import json
import os
import random
import sys
import tarfile

INLINE_MAX = 1024  # fs/image/tree.h: IMG_INLINE_MAX
SIZES = [0, 1, INLINE_MAX, INLINE_MAX + 1, 4095, 4096, 4097, 20000, 300000, 3000000]
OCI = "application/vnd.oci.image."


def layer(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, data in files:
            i = tarfile.TarInfo(name)
            i.size, i.mode = len(data), 0o644
            t.addfile(i, io.BytesIO(data))
    return out.getvalue()


def image(path: str, layers: list[bytes]) -> None:
    os.makedirs(path + "/blobs/sha256")

    def blob(data: bytes, kind: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        with open(f"{path}/blobs/sha256/{digest}", "wb") as f:
            f.write(data)
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [
        "sha256:" + hashlib.sha256(x).hexdigest() for x in layers]}}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": blob(json.dumps(config).encode(), "config.v1+json"),
                "layers": [blob(gzip.compress(x, 1, mtime=0), "layer.v1.tar+gzip") for x in layers]}
    top = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    with open(path + "/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [top]}, f)
    with open(path + "/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')


def main() -> None:
    r = random.Random(4)
    top = sys.argv[1]
    shared = [(f"usr/share/s{k}", r.randbytes(SIZES[k % len(SIZES)])) for k in range(360)]
    a = [(f"opt/a{k}", r.randbytes(SIZES[k % len(SIZES)])) for k in range(40)]
    b = [(f"opt/b{k}", r.randbytes(SIZES[k % len(SIZES)])) for k in range(40)]
    a.append(("opt/again", a[7][1]))  # twice in one image
    b.append(("opt/again", a[8][1]))  # by another name in the other image
    b.append(("opt/near", shared[9][1][:-1] + b"\0"))  # the same length, another last byte
    replaced = ("usr/share/s7", r.randbytes(20000))  # what lies below it is still the layer's
    one, two = a + shared[:200], shared[200:] + [("opt/both", shared[9][1])]  # in two layers
    three, four, five = shared[100:250] + b[:20], shared[:100] + b[20:], shared[250:] + [replaced]
    image(top + "/a", [layer(one), layer(two)])
    image(top + "/b", [layer(three), layer(four), layer(five)])
    have: set[bytes] = set()
    for files in (one + two, three + four + five):
        new = {d for _, d in files if len(d) > INLINE_MAX} - have
        have |= new
        print(sum(-(-len(d) // 4096) * 4096 for d in new), len(new))


main()
