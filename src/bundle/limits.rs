//! Every limit of the format, FORMAT.md section 8: what a stranger's bytes may cost us.

/// The first part of a manifest's `format`; the version follows.
pub const FORMAT: &str = "sealwright/";
/// The version that this program writes, and the only one it reads.
pub const VERSION: u32 = 1;

/// What `format` says in everything that this program signs.
pub fn format() -> String {
    format!("{FORMAT}{VERSION}")
}

/// Entries of a bundle.
pub const MAX_ENTRIES: usize = 1024;
/// Bytes of one paper.
pub const MAX_PAPER_BYTES: u64 = 16 << 20;
/// Bytes of `manifest.json`.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Bytes of `manifest.sig`.
pub const MAX_SIGNATURE_BYTES: u64 = 2 << 20;
/// Bytes of a bundle's end: manifest and signature, each with its header and zeros, and the closing zeros.
pub const MAX_TAIL_BYTES: u64 = MAX_MANIFEST_BYTES + MAX_SIGNATURE_BYTES + 6 * 512;
/// Entries of the payload, `model.sig` counted.
pub const MAX_FILES: u64 = 65_536;
/// Bytes of the payload's tar.
pub const MAX_PAYLOAD_BYTES: u64 = 4 << 40;
/// Bytes of the payload's tar when it is opened in memory.
pub const MAX_MEMORY_BYTES: u64 = 64 << 30;
/// Bytes of `model.sig`.
pub const MAX_MODEL_SIG_BYTES: u64 = 16 << 20;

/// Bytes of a name in a tar.
pub const MAX_NAME_BYTES: usize = 100;
/// Components of a name in a tar.
pub const MAX_NAME_DEPTH: usize = 8;
/// Bases that one bundle may name.
pub const MAX_BASES: usize = 16;
/// Recipients of one bundle.
pub const MAX_RECIPIENTS: usize = 64;
/// Keys and bundles that one revocation list names.
pub const MAX_REVOKED: usize = 32_768;
/// The largest integer that JSON holds exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Content of a zstd frame: all but the last have exactly this much.
pub const PIECE_BYTES: usize = 1 << 20;
/// Bytes of a zstd frame: its content when nothing can be saved, and room for the block headers.
pub const MAX_FRAME_BYTES: usize = PIECE_BYTES + (8 << 10);
/// Bytes of a zstd block (RFC 8878, section 3.1.1.2.4).
pub const MAX_BLOCK_BYTES: usize = 128 << 10;
