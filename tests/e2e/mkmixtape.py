#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A mixtape as an OCI layout: mkmixtape.py OUT KERNEL INITRD CMDLINE DISK.

An index of two manifests for one platform, the disk as raw and as qcow2, both compressed by zstd, as
masterblaster publishes them. PLAIN=1: one manifest, its raw disk as it is.
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile

out, kernel, initrd, cmdline, disk = sys.argv[1:]
STEREOS = "application/vnd.papercompute.stereos."
OCI = "application/vnd.oci."
os.makedirs(f"{out}/blobs/sha256")


def blob(data, media, **more):
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{out}/blobs/sha256/{digest}", "wb") as f:
        f.write(data)
    return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data), **more}


def read(path):
    with open(path, "rb") as f:
        return f.read()


def packed(path):
    return subprocess.run(["zstd", "-qc", path], check=True, stdout=subprocess.PIPE).stdout


def titled(name):
    return {"annotations": {"org.opencontainers.image.title": name}}


def manifest(layer):
    layers = [
        layer,
        blob(read(kernel), STEREOS + "kernel.v1", **titled("bzImage")),
        blob(read(initrd), STEREOS + "initrd.v1", **titled("initrd")),
        blob(cmdline.encode(), STEREOS + "cmdline.v1", **titled("cmdline")),
        blob(b"/nix/store/init\n", STEREOS + "init.v1", **titled("init")),
        blob(b'name = "test"\n', STEREOS + "mixtape-manifest.v1+toml", **titled("mixtape.toml")),
    ]
    doc = {"schemaVersion": 2, "mediaType": OCI + "image.manifest.v1+json",
           "artifactType": STEREOS + "mixtape.v1",
           "config": blob(b"{}", OCI + "empty.v1+json"), "layers": layers}
    return blob(json.dumps(doc).encode(), OCI + "image.manifest.v1+json",
                platform={"os": "linux", "architecture": "amd64"})


if os.environ.get("PLAIN"):
    manifests = [manifest(blob(read(disk), STEREOS + "disk.v1+raw", **titled("stereos.img")))]
else:
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, f"{tmp}/q"], check=True)
        manifests = [
            manifest(blob(packed(f"{tmp}/q"), STEREOS + "disk.v1+qcow2+zstd", **titled("stereos.qcow2.zst"))),
            manifest(blob(packed(disk), STEREOS + "disk.v1+raw+zstd", **titled("stereos.img.zst"))),
        ]
index = {"schemaVersion": 2, "mediaType": OCI + "image.index.v1+json", "manifests": manifests}
inner = blob(json.dumps(index).encode(), OCI + "image.index.v1+json")
with open(f"{out}/index.json", "w", encoding="ascii") as f:
    json.dump({"schemaVersion": 2, "manifests": [inner]}, f)
with open(f"{out}/oci-layout", "w", encoding="ascii") as f:
    f.write('{"imageLayoutVersion":"1.0.0"}')
