//! The Hugging Face hub: a repository at one commit, its small files without its weights, or all that a base needs.
//!
//! Files land in the hub's own cache, in the layout that its Python library and others share, so that nothing is
//! fetched twice; beside it stands a list of what the repository holds, without which nobody could say offline that no
//! licence file is missing.

mod cache;
mod listing;
mod name;
mod settings;

pub use listing::Entry;
pub use name::{Name, Revision};
pub use settings::Settings;

use super::Listener;
use super::download::{Place, Wanted};
use super::http::{Answer, Ask, Client};
use super::url::Url;
use crate::base::{Gguf, Part};
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use cache::Repository;
use listing::Listing;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The first request for the head of a weight file asks for this much: most headers are shorter.
const HEADER_GUESS: u64 = 128 << 10;
/// Bytes of the heads of one repository together.
const MAX_HEADERS_BYTES: u64 = 512 << 20;

/// The hub, or its cache alone.
pub struct Hub {
    settings: Settings,
    /// None: offline.
    client: Option<Client>,
}

impl Hub {
    /// With these settings; offline it never opens a connection.
    pub fn new(settings: Settings) -> Result<Self> {
        let client = if settings.offline { None } else { Some(Client::new()?) };
        Ok(Self { settings, client })
    }

    /// A repository at a commit, or at what a branch or tag is today.
    pub fn snapshot(&self, name: &Name, revision: &Revision) -> Result<Snapshot<'_>> {
        let repository = Repository::new(&self.settings.cache, name);
        let known = if revision.is_commit() { Some(revision.to_string()) } else { None };
        if let Some(listing) = known.as_deref().and_then(|commit| repository.listing(commit)) {
            return Ok(Snapshot { hub: self, name: name.clone(), repository, listing });
        }
        let listing = match &self.client {
            Some(client) => self.ask_for_listing(client, name, revision)?,
            None => offline_listing(&repository, name, revision)?,
        };
        if known.is_some_and(|commit| commit != listing.commit) {
            return Err(Error::new(Code::Network, format!("{name}: the hub names another commit than {revision}")));
        }
        if self.client.is_some() {
            repository.keep(&listing, revision)?;
        }
        Ok(Snapshot { hub: self, name: name.clone(), repository, listing })
    }

    fn ask_for_listing(&self, client: &Client, name: &Name, revision: &Revision) -> Result<Listing> {
        let path = format!("/api/models/{name}/revision/{}", super::url::escape(revision.as_str()));
        let url = self.settings.endpoint.below(&path).with("blobs", "true");
        let answer = client.get(&url, self.ask())?;
        if answer.status != 200 {
            return Err(self.refused(&answer, name, &format!("{name} at {revision}")));
        }
        let bytes = answer.bytes(listing::MAX_BYTES)?;
        Listing::from_hub(&bytes).map_err(|why| Error::new(Code::Network, format!("{name} at {revision}: {why}")))
    }

    fn ask(&self) -> Ask<'_> {
        Ask { headers: &[], secret: self.settings.secret.as_ref() }
    }

    /// What a refusal means on this hub, and what to do.
    fn refused(&self, answer: &Answer, name: &Name, what: &str) -> Error {
        let error = answer.refused(what);
        let page = self.settings.endpoint.below(&format!("/{name}"));
        let token = "give a token with HF_TOKEN, or log in once with the hub's own program";
        match (answer.header("x-error-code"), error.code, &self.settings.secret) {
            (Some("GatedRepo"), ..) | (_, Code::AccessDenied, Some(_)) => {
                Error::new(Code::AccessDenied, format!("{what}: the hub wants its terms accepted first"))
                    .with_hint(format!("read and accept them at {page}, with the account of your token; {token}"))
            }
            (Some("RepoNotFound"), ..) | (_, Code::AccessDenied, None) => {
                Error::new(Code::AccessDenied, format!("{what}: not there, private, or gated"))
                    .with_hint(format!("check the name; for a private or gated model, look at {page} and {token}"))
            }
            (Some("RevisionNotFound"), ..) => Error::new(Code::NotFound, format!("{what}: no such revision"))
                .with_hint(format!("{page}/commits/main lists the commits")),
            (_, Code::NotFound, _) => error.with_hint(format!("check the name at {page}")),
            _ => error,
        }
    }
}

fn offline_listing(repository: &Repository, name: &Name, revision: &Revision) -> Result<Listing> {
    let commit = repository.commit_of(revision);
    commit.as_deref().and_then(|commit| repository.listing(commit)).ok_or_else(|| {
        Error::new(
            Code::Offline,
            format!(
                "{name} at {revision}: not in the cache with a list of its files: {}",
                repository.folder().display()
            ),
        )
        .with_hint("run the same command once without `--offline`; or name a complete folder with `path`")
    })
}

/// A repository at one commit.
pub struct Snapshot<'h> {
    hub: &'h Hub,
    name: Name,
    repository: Repository,
    listing: Listing,
}

impl Snapshot<'_> {
    /// The commit, 40 hex digits.
    pub fn commit(&self) -> &str {
        &self.listing.commit
    }

    /// Every file of the repository.
    pub fn files(&self) -> &[Entry] {
        &self.listing.files
    }

    /// Where its files are in the cache: what was fetched, and what others had fetched before.
    pub fn folder(&self) -> PathBuf {
        self.repository.snapshot(&self.listing.commit)
    }

    /// Has the cache this file?
    pub fn has(&self, file: &Entry) -> bool {
        self.repository.has(&self.listing.commit, file)
    }

    /// Fetches these files into the cache, those that it lacks.
    pub fn fetch<'e>(&self, files: impl IntoIterator<Item = &'e Entry>, listen: &mut Listener<'_>) -> Result<()> {
        let missing: Vec<&Entry> = files.into_iter().filter(|file| !self.has(file)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let Some(client) = &self.hub.client else {
            let others = missing.len() - 1;
            return Err(Error::new(
                Code::Offline,
                format!("{} at {}: not in the cache: {} and {others} more files", self.name, self.commit(), first.name),
            )
            .with_hint("run the same command once without `--offline`"));
        };
        self.repository.demand_room(&missing)?;
        missing.into_iter().try_for_each(|file| self.fetch_one(client, file, listen))
    }

    fn fetch_one(&self, client: &Client, file: &Entry, listen: &mut Listener<'_>) -> Result<()> {
        let _lock = self.repository.lock(file)?;
        let commit = self.commit();
        if !self.repository.has_blob(file) {
            let path = self.repository.incomplete(file);
            let mut options = File::options();
            let mut partial = options.create(true).truncate(false).read(true).write(true).open(&path).at(&path)?;
            let url = self.address(&file.name);
            let wanted = Wanted {
                name: &file.name,
                url: &url,
                secret: self.hub.settings.secret.as_ref(),
                size: file.size,
                digest: file.digest,
            };
            let mut place = Place { path: &path, file: &mut partial, start: 0 };
            wanted.fetch(client, &mut place, listen).map_err(|error| self.told(error, &file.name))?;
            partial.set_len(file.size).and_then(|()| partial.sync_all()).at(&path)?;
            self.repository.finish(file)?;
        }
        self.repository.link(commit, file)
    }

    /// A refusal in the middle, with the hub's remedy.
    fn told(&self, error: Error, file: &str) -> Error {
        if error.code != Code::AccessDenied {
            return error;
        }
        let page = self.hub.settings.endpoint.below(&format!("/{}", self.name));
        Error::new(Code::AccessDenied, format!("{}: the hub does not give {file}", self.name))
            .with_hint(format!("accept the model's terms at {page}, and give a token of that account with HF_TOKEN"))
    }

    fn address(&self, file: &str) -> Url {
        let path: Vec<String> = file.split('/').map(super::url::escape).collect();
        self.hub.settings.endpoint.below(&format!("/{}/resolve/{}/{}", self.name, self.commit(), path.join("/")))
    }

    /// The safetensors headers of these weight files: of those in the cache, and of the others a few kilobytes each.
    pub fn headers<'e>(&self, files: impl IntoIterator<Item = &'e Entry>) -> Result<Vec<Part>> {
        let (mut parts, mut total) = (Vec::new(), 0);
        for file in files {
            let path = self.folder().join(&file.name);
            let part = if self.has(file) {
                Part::read(&path)?
            } else {
                Part { json: self.kept_header(file)?, size: file.size, path }
            };
            total += part.json.len() as u64;
            if total > MAX_HEADERS_BYTES {
                let message = format!("{}: more than {MAX_HEADERS_BYTES} bytes of safetensors headers", self.name);
                return Err(Error::new(Code::TooLarge, message));
            }
            parts.push(part);
        }
        Ok(parts)
    }

    /// A header that was fetched once is kept: a base can be judged offline again.
    fn kept_header(&self, file: &Entry) -> Result<Vec<u8>> {
        let path = self.repository.header(file);
        if path.is_file() {
            return data::read_bytes(&path, crate::base::MAX_HEADER_BYTES);
        }
        let json = self.header(file)?;
        data::write_atomically(&path, |kept| kept.write_all(&json).at(&path))?;
        Ok(json)
    }

    /// The heads of these GGUF files: of those in the cache, and of the others as many bytes as they take.
    pub fn gguf_heads<'e>(&self, files: impl IntoIterator<Item = &'e Entry>) -> Result<Vec<Gguf>> {
        let (mut heads, mut total) = (Vec::new(), 0);
        for file in files {
            let path = self.folder().join(&file.name);
            if self.has(file) {
                heads.push(Gguf::read(&path)?);
                continue;
            }
            let (head, length) = self.gguf_head(file, &path)?;
            total += length;
            if total > MAX_HEADERS_BYTES {
                let message = format!("{}: more than {MAX_HEADERS_BYTES} bytes of GGUF heads", self.name);
                return Err(Error::new(Code::TooLarge, message));
            }
            heads.push(head);
        }
        Ok(heads)
    }

    /// One head, and its bytes. Nothing in the file says how long it is, so twice as much is asked for until it is whole;
    /// what was fetched is kept.
    fn gguf_head(&self, file: &Entry, path: &Path) -> Result<(Gguf, u64)> {
        let kept = self.repository.header(file);
        let mut bytes =
            if kept.is_file() { data::read_bytes(&kept, crate::base::gguf::MAX_HEAD_BYTES)? } else { Vec::new() };
        loop {
            let there = bytes.len() as u64;
            if there > 0
                && let Some(head) = Gguf::read_beginning(path, file.size, &kept)?
            {
                return Ok((head, there));
            }
            let most = file.size.min(crate::base::gguf::MAX_HEAD_BYTES);
            if there >= most {
                // it ends inside its head, or that is too large: the reader says which
                return Gguf::read(&kept).map(|head| (head, there));
            }
            let end = (2 * there).max(HEADER_GUESS).min(most);
            bytes.extend(self.range(self.online(file)?, file, there, end)?);
            data::write_atomically(&kept, |out| out.write_all(&bytes).at(&kept))?;
        }
    }

    /// The connection, or that there is none for this file.
    fn online(&self, file: &Entry) -> Result<&Client> {
        self.hub.client.as_ref().ok_or_else(|| {
            Error::new(Code::Offline, format!("{}: not in the cache: {}", self.name, file.name))
                .with_hint("run the same command once without `--offline`")
        })
    }

    fn header(&self, file: &Entry) -> Result<Vec<u8>> {
        let wrong = |why: &str| Error::new(Code::Network, format!("{}: {}: {why}", self.name, file.name));
        let client = self.online(file)?;
        let mut bytes = self.range(client, file, 0, HEADER_GUESS.min(file.size))?;
        let length = bytes.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let length = length.ok_or_else(|| wrong("shorter than a safetensors header"))?;
        if length > crate::base::MAX_HEADER_BYTES || length > file.size - 8 {
            return Err(wrong("its header's length does not fit the file"));
        }
        let end = 8 + length;
        if (bytes.len() as u64) < end {
            bytes.extend(self.range(client, file, bytes.len() as u64, end)?);
        }
        bytes.truncate(end as usize);
        Ok(bytes.split_off(8))
    }

    /// Some bytes of a file, which nobody has proven; a server that knows no ranges is heard to the end of the part.
    fn range(&self, client: &Client, file: &Entry, start: u64, end: u64) -> Result<Vec<u8>> {
        let range = format!("bytes={start}-{}", end.saturating_sub(1));
        let headers = [("range", range.as_str()), ("accept-encoding", "identity")];
        let ask = Ask { headers: &headers, secret: self.hub.settings.secret.as_ref() };
        let answer = client.get(&self.address(&file.name), ask)?;
        let skip = match answer.status {
            206 => 0,
            200 => start,
            _ => return Err(self.told(answer.refused(&file.name), &file.name)),
        };
        let wrong = |why: String| Error::new(Code::Network, format!("{}: {}: {why}", self.name, file.name));
        let mut reader = answer.reader();
        std::io::copy(&mut (&mut reader).take(skip), &mut std::io::sink()).map_err(|e| wrong(e.to_string()))?;
        let mut bytes = Vec::new();
        reader.take(end - start).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
        if bytes.len() as u64 != end - start {
            return Err(wrong("the server sends less than it was asked for".into()));
        }
        Ok(bytes)
    }
}
