"""CXDB's formats, byte for byte: files, frames of the binary protocol, file trees, the type registry."""
