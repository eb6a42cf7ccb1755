#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mkconfig.py LAYOUT NEW JSON: an OCI layout like LAYOUT, with JSON's keys in its config's "config"."""
import hashlib
import json
import os
import shutil
import sys

src, dst, more = sys.argv[1:]
shutil.copytree(src, dst)


def blob(digest):
    return os.path.join(dst, "blobs", *digest.split(":"))


def put(doc):
    data = json.dumps(doc).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with open(blob(digest), "wb") as f:
        f.write(data)
    return {"digest": digest, "size": len(data)}


with open(os.path.join(dst, "index.json"), encoding="utf-8") as f:
    index = json.load(f)
with open(blob(index["manifests"][0]["digest"]), encoding="utf-8") as f:
    manifest = json.load(f)
with open(blob(manifest["config"]["digest"]), encoding="utf-8") as f:
    config = json.load(f)
config.setdefault("config", {}).update(json.loads(more))
manifest["config"].update(put(config))
index["manifests"][0].update(put(manifest))
with open(os.path.join(dst, "index.json"), "w", encoding="utf-8") as f:
    json.dump(index, f)
