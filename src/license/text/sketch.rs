//! A compact sketch of a token stream, to say which known text an unknown one resembles. It never identifies.
//!
//! The bottom-k method (Broder 1997): of all hashes of five tokens in a row, the smallest 96 are kept; the share of
//! common ones among the smallest of both estimates how much of the two texts is the same.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Tokens in a shingle.
const SHINGLE: usize = 5;
/// Hashes kept.
const KEPT: usize = 96;

/// The smallest hashes, ascending; written as hexadecimal, eight digits each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sketch(Vec<u32>);

impl Sketch {
    /// The sketch of a stream.
    pub fn of<S: AsRef<str>>(tokens: &[S]) -> Self {
        let hashes: BTreeSet<u32> = tokens.windows(SHINGLE.min(tokens.len()).max(1)).map(hash).collect();
        Self(hashes.into_iter().take(KEPT).collect())
    }

    /// Estimated share of common shingles, from 0 to 1.
    pub fn resemblance(&self, other: &Self) -> f64 {
        let union: BTreeSet<u32> = self.0.iter().chain(&other.0).copied().collect();
        let smallest: Vec<u32> = union.into_iter().take(KEPT).collect();
        let common = |h: &&u32| self.0.binary_search(h).is_ok() && other.0.binary_search(h).is_ok();
        smallest.iter().filter(common).count() as f64 / smallest.len().max(1) as f64
    }
}

/// FNV-1a over the tokens with a space between, its bits then mixed (splitmix64's finaliser), the upper half.
fn hash<S: AsRef<str>>(tokens: &[S]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for token in tokens {
        for byte in token.as_ref().bytes().chain([b' ']) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((hash ^ (hash >> 31)) >> 32) as u32
}

impl From<Sketch> for String {
    fn from(sketch: Sketch) -> String {
        sketch.0.iter().map(|h| format!("{h:08x}")).collect()
    }
}

impl TryFrom<String> for Sketch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "a sketch is ascending hexadecimal numbers of eight digits".to_owned();
        if !text.is_ascii() || !text.len().is_multiple_of(8) || text.len() > KEPT * 8 {
            return Err(wrong());
        }
        let number = |at: usize| u32::from_str_radix(&text[at..at + 8], 16).map_err(|_| wrong());
        let hashes = (0..text.len()).step_by(8).map(number).collect::<Result<Vec<_>, _>>()?;
        if !hashes.is_sorted_by(|a, b| a < b) {
            return Err(wrong());
        }
        Ok(Self(hashes))
    }
}
