//! What a repository holds at one commit: names, sizes and digests, out of the hub's answer and checked.

use super::name::is_commit;
use crate::net::download::Digest;
use serde::{Deserialize, Serialize};

/// Bytes of the hub's answer, and of a listing in the cache.
pub const MAX_BYTES: u64 = 64 << 20;
/// Files of a repository.
const MAX_FILES: usize = 50_000;
/// Bytes of a file.
const MAX_SIZE: u64 = 4 << 40;
/// Bytes of a name, and of one component of it.
const MAX_NAME_BYTES: usize = 1024;
const MAX_COMPONENT_BYTES: usize = 255;

/// A repository's files at one commit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listing {
    /// 40 hex digits.
    pub commit: String,
    /// Sorted by name.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Relative, with `/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of a large file, git's name of a small one; the blob's name in the cache.
    #[serde(with = "as_text")]
    pub(super) digest: Digest,
}

/// `GET /api/models/OWNER/NAME/revision/REVISION?blobs=true`, as far as we read it.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the hub's answer.
    pub fn from_hub(bytes: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(bytes).map_err(|e| format!("the hub's answer: {e}"))?;
        let files = answer.siblings.into_iter().map(Sibling::into_entry).collect::<Result<_, _>>()?;
        Self { commit: answer.sha, files }.checked()
    }

    /// Reads one that was kept in the cache.
    pub fn from_cache(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice::<Self>(bytes).map_err(|e| e.to_string())?.checked()
    }

    fn checked(mut self) -> Result<Self, String> {
        if !is_commit(&self.commit) {
            return Err(format!("not a commit: {}", self.commit.escape_debug()));
        }
        if self.files.len() > MAX_FILES {
            return Err(format!("more than {MAX_FILES} files"));
        }
        self.files.sort_by(|a, b| a.name.cmp(&b.name));
        for file in &self.files {
            if !is_safe(&file.name) {
                return Err(format!("a file name that can't be taken: {}", file.name.escape_debug()));
            }
            if file.size > MAX_SIZE {
                return Err(format!("{}: larger than {MAX_SIZE} bytes", file.name));
            }
        }
        match self.files.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(format!("a file stands twice: {}", pair[0].name)),
            None => Ok(self),
        }
    }
}

impl Sibling {
    fn into_entry(self) -> Result<Entry, String> {
        let name = self.rfilename;
        let (digest, size) = match (self.lfs, self.blob_id, self.size) {
            (Some(lfs), ..) => (lfs.sha256, lfs.size),
            (None, Some(blob), Some(size)) => (blob, size),
            _ => return Err(format!("the hub gives no digest and size for {}", name.escape_debug())),
        };
        Ok(Entry { digest: digest.parse()?, name, size })
    }
}

/// A name that means a file below its folder on every system.
fn is_safe(name: &str) -> bool {
    let component = |c: &str| {
        !matches!(c, "" | "." | "..")
            && c.len() <= MAX_COMPONENT_BYTES
            && !c.ends_with(['.', ' '])
            && !c.contains(|c: char| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    name.len() <= MAX_NAME_BYTES && name.split('/').all(component)
}

mod as_text {
    use super::Digest;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(digest)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(name: &str, rest: &str) -> Result<Listing, String> {
        let name = serde_json::to_string(name).unwrap();
        let (sha, blob) = ("ab".repeat(20), "cd".repeat(20));
        let text = format!(
            r#"{{"sha":"{sha}","private":false,"siblings":[{{"rfilename":{name},"size":3,"blobId":"{blob}"{rest}}}]}}"#
        );
        Listing::from_hub(text.as_bytes())
    }

    #[test]
    fn small_and_large_files_have_their_digests() {
        let small = listing("LICENSE", "").unwrap();
        assert_eq!(small.files[0].digest.to_string(), "cd".repeat(20));
        let large = listing("a/b", &format!(r#","lfs":{{"sha256":"{}","size":9,"pointerSize":1}}"#, "ef".repeat(32)));
        let large = large.unwrap();
        assert_eq!((large.files[0].size, large.files[0].digest.to_string()), (9, "ef".repeat(32)));
        let kept = serde_json::to_vec(&large).unwrap();
        assert_eq!(Listing::from_cache(&kept).unwrap().files[0].name, "a/b");
    }

    #[test]
    fn names_that_escape_are_refused() {
        for name in ["../x", "/x", "a/../../x", "a\\..\\x", "C:x", "a//b", ".", "a/", "", "a\0", "a\nb", "x."] {
            assert!(listing(name, "").is_err(), "{name:?}");
        }
        assert!(listing(&"x".repeat(256), "").is_err());
        assert!(listing("x", r#","lfs":{"sha256":"../../etc","size":1}"#).is_err());
        assert!(listing("Tongyi Qianwen LICENSE AGREEMENT", "").is_ok());
        assert!(listing(".gitattributes", "").is_ok());
    }
}
