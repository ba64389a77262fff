//! Base families: how one kind of base is built and named, out of `adapters/*.toml`.
