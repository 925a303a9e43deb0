"""The limit on open files, which thousands of connections need raised."""

from __future__ import annotations

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment] # a module, or None


def raise_open_files() -> int:
    """Raise the soft limit to the hard one and return how many files may be open."""
    if resource is None:
        return 2**31
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return 2**31 if soft == resource.RLIM_INFINITY else soft
