"""Object storage: folders published to, and fetched from, `s3://`, `gs://`, `az://` or `file://`.

A published folder is complete or invisible. Its files lie below a generation named after their
content, and `published.json`, written last in one request, names that generation with the size
and sha256 of every file:

```
s3://bucket/tickets/
  published.json              which generation counts, and what is in it
  4be1a0c2d6f7e811/           the files, under their own names
    model/config.json
```

An upload cut short leaves no trace a reader would follow, and is continued by doing it again;
two writers never mix, since different content never shares a folder.
"""

from deepsynth.storage.failure import LocationError, StorageError
from deepsynth.storage.fetching import fetch, local_copy, local_path
from deepsynth.storage.publishing import Publication, publish, read_publication, remove
from deepsynth.storage.stores import is_url

__all__ = [
    "LocationError",
    "Publication",
    "StorageError",
    "fetch",
    "is_url",
    "local_copy",
    "local_path",
    "publish",
    "read_publication",
    "remove",
]
