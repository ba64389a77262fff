//! A bundle as an OCI artifact, FORMAT.md section 15: an image manifest over the bundle's bytes, cut into blobs.

use crate::bundle::Tail;
use crate::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of an artifact's manifest.
pub const MAX_BYTES: u64 = 4 << 20;
/// What the artifact is.
pub const ARTIFACT: &str = "application/vnd.sealwright.bundle.v1";
/// A piece of the bundle.
pub const PART: &str = "application/vnd.sealwright.bundle.part.v1";
/// Its end: manifest, signature and the closing zeros, by themselves a tar.
pub const TAIL: &str = "application/vnd.sealwright.bundle.tail.v1+tar";
/// The image manifest of the OCI image specification.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The config of an artifact that has none.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub const EMPTY_BYTES: &[u8] = b"{}";

/// Parts of a bundle, its tail not counted.
const MAX_PARTS: u64 = 1024;
/// A part is no smaller, but for the last.
const PART_BYTES: u64 = 256 << 20;

/// The manifest, in the order in which it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    schema_version: u32,
    media_type: String,
    artifact_type: Option<String>,
    config: Descriptor,
    /// The bundle's bytes, in order; the last is its tail.
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A blob by its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    media_type: String,
    digest: String,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// Where a bundle of `size` bytes, whose tail begins at `tail`, is cut. The same bundle is always cut in the same way.
pub fn cuts(tail: u64, size: u64) -> Vec<Range<u64>> {
    let least = tail.div_ceil(MAX_PARTS).next_multiple_of(1 << 20);
    let part = least.max(PART_BYTES);
    let parts = (0..tail.div_ceil(part)).map(|i| i * part..((i + 1) * part).min(tail));
    parts.chain(std::iter::once(tail..size)).collect()
}

impl Artifact {
    /// Of a bundle: its end says what it is; `parts` are size and digest of its pieces, the tail last.
    pub fn of(tail: &Tail, parts: &[(u64, Sha256)]) -> Self {
        let manifest = tail.manifest();
        let name = tail.file_name();
        let layer = |(i, (size, digest)): (usize, &(u64, Sha256))| Descriptor {
            media_type: if i + 1 == parts.len() { TAIL } else { PART }.into(),
            digest: format!("sha256:{digest}"),
            size: *size,
            annotations: [(title(), format!("{name}.{i:04}"))].into(),
        };
        let issued = i64::try_from(manifest.issued).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let annotations = [
            Some((title(), name.clone())),
            Some(("org.opencontainers.image.version".into(), manifest.product.version.clone())),
            Some(("org.opencontainers.image.vendor".into(), manifest.vendor.name.clone())),
            issued.map(|issued| ("org.opencontainers.image.created".into(), issued.to_string())),
        ];
        Self {
            schema_version: 2,
            media_type: MANIFEST.into(),
            artifact_type: Some(ARTIFACT.into()),
            config: Descriptor {
                media_type: EMPTY.into(),
                digest: format!("sha256:{}", Sha256::of(EMPTY_BYTES)),
                size: EMPTY_BYTES.len() as u64,
                annotations: BTreeMap::new(),
            },
            layers: parts.iter().enumerate().map(layer).collect(),
            annotations: annotations.into_iter().flatten().collect(),
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("our own values serialise")
    }

    /// Reads one that a registry gives; of its annotations nothing is believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let artifact: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if artifact.schema_version != 2 || artifact.media_type != MANIFEST {
            return Err(format!("not an OCI image manifest: {}", artifact.media_type.escape_debug()));
        }
        if artifact.artifact_type.as_deref() != Some(ARTIFACT) {
            let found = artifact.artifact_type.as_deref().unwrap_or("no type");
            return Err(format!("not a bundle, but: {}", found.escape_debug()));
        }
        let (tail, parts) = artifact.layers.split_last().ok_or("it holds nothing")?;
        if tail.media_type != TAIL || parts.is_empty() || parts.iter().any(|part| part.media_type != PART) {
            return Err("its blobs are not the parts of a bundle, with the tail last".into());
        }
        if parts.len() as u64 > MAX_PARTS || artifact.layers.iter().any(|layer| layer.size == 0) {
            return Err(format!("more than {MAX_PARTS} parts, or an empty one"));
        }
        artifact.layers.iter().try_for_each(|layer| layer.sha256().map(|_| ()))?;
        Ok(artifact)
    }

    /// Bytes of the bundle, if the sizes can be added up.
    pub fn size(&self) -> Option<u64> {
        self.layers.iter().try_fold(0u64, |sum, layer| sum.checked_add(layer.size))
    }
}

impl Descriptor {
    /// Of its content.
    pub fn sha256(&self) -> Result<Sha256, String> {
        self.digest
            .strip_prefix("sha256:")
            .and_then(|hex| hex.parse().ok())
            .ok_or_else(|| format!("not a sha256 digest: {}", self.digest.escape_debug()))
    }
}

fn title() -> String {
    "org.opencontainers.image.title".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cuts_cover_a_bundle_of_any_size() {
        for tail in [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, MAX_PARTS * PART_BYTES + 1, 4 << 40] {
            let cuts = cuts(tail, tail + 5000);
            assert!(cuts.len() as u64 <= MAX_PARTS + 1, "{tail}");
            assert_eq!((cuts[0].start, cuts.last().unwrap().clone()), (0, tail..tail + 5000));
            assert!(cuts.windows(2).all(|pair| pair[0].end == pair[1].start && !pair[0].is_empty()), "{tail}");
        }
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let layer = |kind: &str| serde_json::json!({"mediaType": kind, "digest": digest, "size": 3});
        let with = |artifact: &str, layers: serde_json::Value| {
            let config = layer(EMPTY);
            let value = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact,
                "config": config, "layers": layers});
            Artifact::parse(value.to_string().as_bytes())
        };
        assert_eq!(with(ARTIFACT, serde_json::json!([layer(PART), layer(TAIL)])).unwrap().size(), Some(6));
        assert!(with("application/x", serde_json::json!([layer(PART), layer(TAIL)])).is_err());
        for layers in [
            serde_json::json!([]),
            serde_json::json!([layer(TAIL)]),
            serde_json::json!([layer(TAIL), layer(PART)]),
            serde_json::json!([layer(TAIL), layer(TAIL)]),
            serde_json::json!([{"mediaType": PART, "digest": digest, "size": 0}, layer(TAIL)]),
            serde_json::json!([{"mediaType": PART, "digest": "sha256:../x", "size": 1}, layer(TAIL)]),
            serde_json::json!([{"mediaType": PART, "digest": digest, "size": -1}, layer(TAIL)]),
        ] {
            assert!(with(ARTIFACT, layers.clone()).is_err(), "{layers}");
        }
        assert!(Artifact::parse(b"{").is_err());
    }
}
