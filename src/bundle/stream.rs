//! The chunks of an age file (age-encryption.org/v1, "Payload"), sealed and opened by themselves, so that cores share
//! them. The age crate makes and reads the header; a recipient or an identity around its own sees the file key.

use super::keys::{self, Identities, Recipient};
use super::layout;
use super::walk::PAYLOAD;
use crate::digest::{Hasher, Sha256};
use crate::error::{Code, Error, Result};
use age::secrecy::ExposeSecret as _;
use age_core::format::{FileKey, Stanza};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read};
use zeroize::Zeroizing;

/// Bytes that one chunk holds.
pub const CHUNK: usize = 64 << 10;
/// Bytes of a chunk's tag.
pub const TAG: usize = 16;
/// Bytes of a sealed chunk.
pub const SEALED_CHUNK: usize = CHUNK + TAG;
/// Chunks that a thread takes at a time.
pub const GROUP: usize = 16;
/// Bytes of the nonce after the header.
const NONCE: usize = 16;

/// Some chunks in a row.
pub struct Group {
    /// Sealed chunks one after the other; while they are not sealed, each with room for its tag.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The number of the first.
    pub first: u64,
    /// Is the last of them the last of the file?
    pub is_end: bool,
}

impl Group {
    /// An empty one with all the room that it may need.
    pub fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(GROUP * SEALED_CHUNK)), first: 0, is_end: false }
    }
}

/// The key of an age file's chunks.
pub struct Key(LessSafeKey);

impl Key {
    /// HKDF-SHA-256 of the file key, salted with the nonce.
    fn new(file_key: &FileKey, nonce: &[u8; NONCE]) -> Self {
        let key = Zeroizing::new(age_core::primitives::hkdf(nonce, b"payload", file_key.expose_secret()));
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("32 bytes are a key")))
    }

    /// Seals what stands in a group.
    pub fn seal(&self, group: &mut Group) -> Result<()> {
        let count = group.bytes.len().div_ceil(SEALED_CHUNK);
        for (n, chunk) in group.bytes.chunks_mut(SEALED_CHUNK).enumerate() {
            let (plain, room) = chunk.split_at_mut(chunk.len() - TAG);
            let nonce = nonce(group.first + n as u64, group.is_end && n + 1 == count);
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::empty(), plain);
            room.copy_from_slice(tag.map_err(|_| bad("a chunk that is too long"))?.as_ref());
        }
        Ok(())
    }

    /// Opens a group: afterwards its bytes are what was sealed, without tags.
    pub fn open(&self, group: &mut Group) -> Result<()> {
        let length = group.bytes.len();
        if length == 0 {
            return Err(ends_early());
        }
        let count = length.div_ceil(SEALED_CHUNK);
        // a full chunk that is sealed as one before the last tells a file that was cut between chunks
        let last = (group.is_end && length.is_multiple_of(SEALED_CHUNK))
            .then(|| Zeroizing::new(group.bytes[length - SEALED_CHUNK..].to_vec()));
        let mut opened = 0;
        for n in 0..count {
            let (number, is_last) = (group.first + n as u64, group.is_end && n + 1 == count);
            let end = length.min((n + 1) * SEALED_CHUNK);
            let area = &mut group.bytes[n * CHUNK..end];
            match self.0.open_within(nonce(number, is_last), Aad::empty(), area, n * TAG..) {
                Ok([]) if number > 0 => return Err(bad("its last chunk is empty")),
                Ok(plain) => opened += plain.len(),
                Err(_) => return Err(self.refuse(number, last.filter(|_| is_last))),
            }
        }
        group.bytes.truncate(opened);
        Ok(())
    }

    /// Why a chunk does not open: it was changed, or what should follow it was cut away.
    fn refuse(&self, number: u64, last: Option<Zeroizing<Vec<u8>>>) -> Error {
        let is_cut =
            last.is_some_and(|mut chunk| self.0.open_in_place(nonce(number, false), Aad::empty(), &mut chunk).is_ok());
        if is_cut { ends_early() } else { bad("decryption error") }
    }
}

/// 11 bytes of the chunk's number, big-endian, and 1 for the last chunk.
fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// A new age file for these recipients: its bytes up to the first chunk, and the key of its chunks.
pub fn start(recipients: &[Recipient]) -> Result<(Vec<u8>, Key)> {
    let seen = RefCell::new(None);
    let keys = keys::for_age(recipients)?;
    let watched: Vec<_> = keys.iter().map(|key| Watched { inner: &**key, seen: &seen }).collect();
    let encryptor = age::Encryptor::with_recipients(watched.iter().map(|key| key as &dyn age::Recipient))
        .map_err(|e| Error::new(Code::BadInput, format!("recipients: {e}")).with_hint("each customer needs one"))?;
    let mut head = Vec::new();
    encryptor.wrap_output(&mut head).map_err(|e| Error::new(Code::Io, format!("age's header: {e}")))?;
    let nonce = head.last_chunk().expect("age ends a header with the nonce");
    let key = Key::new(&seen.take().expect("each recipient wraps the file key"), nonce);
    Ok((head, key))
}

/// Reads an age file up to its first chunk; returns the key of its chunks, and how many bytes those before them are.
/// `check` is shown their digest before any identity meets what they say.
pub fn begin(
    input: impl Read,
    identities: &Identities,
    check: impl FnOnce(Sha256) -> Result<()>,
) -> Result<(Key, u64)> {
    let read = RefCell::new(Head::default());
    let decryptor = age::Decryptor::new(Recording { input, read: &read }).map_err(|e| refused(&e))?;
    let Head { hasher, last } = read.take();
    let bytes = hasher.bytes();
    check(hasher.finish())?;
    let seen = RefCell::new(None);
    let watched: Vec<_> = identities.as_age().map(|inner| Watched { inner, seen: &seen }).collect();
    drop(decryptor.decrypt(watched.iter().map(|key| key as &dyn age::Identity)).map_err(|e| refused(&e))?);
    let key = Key::new(&seen.take().expect("an identity has unwrapped the file key"), &last);
    Ok((key, bytes))
}

fn refused(error: &age::DecryptError) -> Error {
    match error {
        age::DecryptError::NoMatchingKeys => {
            Error::new(Code::WrongCustomer, "the payload is not encrypted to the recipient that the manifest names")
        }
        age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
            Error::new(Code::WrongCustomer, "the key or passphrase does not open the payload")
                .with_hint("check the passphrase")
        }
        age::DecryptError::ExcessiveWork { required, .. } => {
            Error::new(Code::TooLarge, format!("its passphrase asks for 2^{required} rounds of scrypt"))
                .with_hint("ask the vendor for one that asks for less, or for a key")
        }
        age::DecryptError::Plugin(_) | age::DecryptError::PluginResolve(_) => {
            Error::new(Code::WrongCustomer, "the age plugin did not open the payload")
                .with_hint("is the token there, and the one that the vendor was told of?")
        }
        age::DecryptError::Io(error) => layout::read_error(error),
        other => Error::new(Code::BadBundle, format!("{PAYLOAD}: {other}")),
    }
}

pub fn bad(message: &str) -> Error {
    Error::new(Code::BadBundle, format!("the payload can't be read: {message}"))
}

fn ends_early() -> Error {
    layout::read_error(&io::ErrorKind::UnexpectedEof.into())
}

/// A recipient or identity of age's, and the file key that goes through it.
struct Watched<'a, K: ?Sized> {
    inner: &'a K,
    seen: &'a RefCell<Option<FileKey>>,
}

impl<K: ?Sized> Watched<'_, K> {
    fn see(&self, key: &FileKey) {
        *self.seen.borrow_mut() = Some(FileKey::new(Box::new(*key.expose_secret())));
    }
}

impl age::Recipient for Watched<'_, dyn age::Recipient> {
    fn wrap_file_key(&self, key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        self.see(key);
        self.inner.wrap_file_key(key)
    }
}

impl age::Identity for Watched<'_, dyn age::Identity> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.inner.unwrap_stanza(stanza).inspect(|key| key.iter().for_each(|key| self.see(key)))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, age::DecryptError>> {
        self.inner.unwrap_stanzas(stanzas).inspect(|key| key.iter().for_each(|key| self.see(key)))
    }
}

/// What stands before the first chunk.
#[derive(Default)]
struct Head {
    hasher: Hasher,
    /// age reads the nonce last.
    last: [u8; NONCE],
}

/// A reader that notes what age reads.
struct Recording<'r, R> {
    input: R,
    read: &'r RefCell<Head>,
}

impl<R: Read> Read for Recording<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut read = self.read.borrow_mut();
        read.hasher.update(&buffer[..count]);
        for byte in &buffer[count.saturating_sub(NONCE)..count] {
            read.last.rotate_left(1);
            read.last[NONCE - 1] = *byte;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const LENGTHS: [usize; 9] =
        [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, GROUP * CHUNK - 1, GROUP * CHUNK, 3 * GROUP * CHUNK + 7];

    fn customer() -> (Recipient, Identities, age::x25519::Identity) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id.txt");
        let recipient = keys::write_new_identity(&path).unwrap();
        let identities = Identities::read(&path, std::sync::Arc::new(keys::Nobody)).unwrap();
        let line = std::fs::read_to_string(&path).unwrap().lines().last().unwrap().to_owned();
        (recipient, identities, line.parse().unwrap())
    }

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// An age file made of groups.
    fn seal(recipient: &Recipient, plain: &[u8]) -> Vec<u8> {
        let (mut file, key) = start(std::slice::from_ref(recipient)).unwrap();
        let mut groups: Vec<&[u8]> = plain.chunks(GROUP * CHUNK).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        for (n, part) in groups.iter().enumerate() {
            let mut group = Group::new();
            (group.first, group.is_end) = ((n * GROUP) as u64, n + 1 == groups.len());
            let mut chunks: Vec<&[u8]> = part.chunks(CHUNK).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for chunk in chunks {
                group.bytes.extend_from_slice(chunk);
                group.bytes.extend_from_slice(&[0; TAG]);
            }
            key.seal(&mut group).unwrap();
            file.extend_from_slice(&group.bytes);
        }
        file
    }

    fn open(identities: &Identities, file: &[u8]) -> Result<Vec<u8>> {
        let (key, head) = begin(file, identities, |_| Ok(()))?;
        let sealed = &file[head as usize..];
        let mut groups: Vec<&[u8]> = sealed.chunks(GROUP * SEALED_CHUNK).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        let mut plain = Vec::new();
        for (n, part) in groups.iter().enumerate() {
            let mut group = Group::new();
            (group.first, group.is_end) = ((n * GROUP) as u64, n + 1 == groups.len());
            group.bytes.extend_from_slice(part);
            key.open(&mut group)?;
            plain.extend_from_slice(&group.bytes);
        }
        Ok(plain)
    }

    #[test]
    fn the_age_crate_opens_what_is_sealed_here() {
        let (recipient, _, identity) = customer();
        for length in LENGTHS {
            let (plain, mut opened) = (content(length), Vec::new());
            let file = seal(&recipient, &plain);
            let decryptor = age::Decryptor::new(&file[..]).unwrap();
            let keys = [&identity as &dyn age::Identity];
            decryptor.decrypt(keys.into_iter()).unwrap().read_to_end(&mut opened).unwrap();
            assert!(opened == plain, "{length}");
        }
    }

    #[test]
    fn what_the_age_crate_sealed_is_opened_here() {
        let (_, identities, identity) = customer();
        let recipient = identity.to_public();
        for length in LENGTHS {
            let (plain, mut file) = (content(length), Vec::new());
            let encryptor = age::Encryptor::with_recipients([&recipient as &dyn age::Recipient].into_iter()).unwrap();
            let mut writer = encryptor.wrap_output(&mut file).unwrap();
            writer.write_all(&plain).unwrap();
            writer.finish().unwrap();
            assert!(open(&identities, &file).unwrap() == plain, "{length}");
        }
    }

    #[test]
    fn chunks_that_are_cut_away_changed_moved_or_added_are_refused() {
        let (recipient, identities, _) = customer();
        let code = |file: &[u8]| open(&identities, file).unwrap_err().code;
        let file = seal(&recipient, &content(3 * CHUNK));
        let head = file.len() - 3 * SEALED_CHUNK;
        assert_eq!(code(&file[..head]), Code::Truncated, "no chunk");
        for chunks in [1, 2] {
            assert_eq!(code(&file[..head + chunks * SEALED_CHUNK]), Code::Truncated, "{chunks} chunks");
        }
        assert_eq!(code(&file[..file.len() - 1]), Code::BadBundle, "a byte less");
        assert_eq!(code(&[&file[..], &[0]].concat()), Code::BadBundle, "a byte more");
        for at in [head, head + CHUNK, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert_eq!(code(&changed), Code::BadBundle, "byte {at}");
        }
        let mut moved = file.clone();
        moved[head..].rotate_left(SEALED_CHUNK);
        assert_eq!(code(&moved), Code::BadBundle);
    }

    #[test]
    fn an_empty_last_chunk_stands_alone_only() {
        let (recipient, identities, _) = customer();
        let (mut file, key) = start(std::slice::from_ref(&recipient)).unwrap();
        let mut group = Group::new();
        group.bytes.extend_from_slice(&[0; SEALED_CHUNK + TAG]);
        group.is_end = true;
        key.seal(&mut group).unwrap();
        file.extend_from_slice(&group.bytes);
        assert_eq!(open(&identities, &file).unwrap_err().code, Code::BadBundle);
    }

    #[test]
    #[ignore = "tests/interop/age_vectors.sh fetches them"]
    fn the_age_projects_vectors_agree() {
        let folder = std::env::var("SEALWRIGHT_AGE_VECTORS").unwrap();
        let (mut opened, mut refused) = (0, 0);
        for vector in std::fs::read_dir(folder).unwrap() {
            let vector = vector.unwrap().path();
            let text = |name: &str| std::fs::read_to_string(vector.join(name)).ok();
            let identities = match text("passphrase") {
                Some(secret) => Identities::passphrase(secret.into()),
                None => Identities::read(&vector.join("identity"), std::sync::Arc::new(keys::Nobody)).unwrap(),
            };
            let plain = open(&identities, &std::fs::read(vector.join("file")).unwrap());
            let (found, wanted) = (plain.ok().map(|p| Sha256::of(p).to_string()), text("expect").unwrap());
            *(if found.is_some() { &mut opened } else { &mut refused }) += 1;
            assert_eq!(found.unwrap_or_default(), wanted, "{}", vector.display());
        }
        assert!(opened >= 15 && refused >= 70, "{opened} opened, {refused} refused");
    }
}
