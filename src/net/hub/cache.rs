//! The hub's cache on disk, as its own library lays it out: `models--OWNER--NAME/` with `blobs/DIGEST`, `refs/BRANCH`
//! and `snapshots/COMMIT/FILE`, each a link to its blob. Ours beside them: `sealwright/COMMIT.json`, the
//! listing, and `sealwright/DIGEST.header`, a weight file's header without its weights.

use super::listing::{self, Entry, Listing};
use super::name::{Name, Revision, is_commit};
use crate::data;
use crate::error::{AtPath, Code, Error, Result};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A branch's file holds a commit.
const MAX_REF_BYTES: u64 = 256;

/// One repository's folder in the cache.
pub struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    /// In this cache; nothing is made yet.
    pub fn new(cache: &Path, name: &Name) -> Self {
        Self { folder: cache.join(name.folder()), locks: cache.join(".locks").join(name.folder()) }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit that a revision was when it was last asked for.
    pub fn commit_of(&self, revision: &Revision) -> Option<String> {
        if revision.is_commit() {
            return Some(revision.to_string());
        }
        let text = data::read_text(&self.folder.join("refs").join(revision.as_str()), MAX_REF_BYTES).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The list that was kept of a commit. One that can't be read is none.
    pub fn listing(&self, commit: &str) -> Option<Listing> {
        let bytes = data::read_bytes(&self.record(commit), listing::MAX_BYTES).ok()?;
        Listing::from_cache(&bytes).ok().filter(|listing| listing.commit == commit)
    }

    /// Keeps a listing, and what the branch is by now.
    pub fn keep(&self, listing: &Listing, revision: &Revision) -> Result<()> {
        let path = self.record(&listing.commit);
        let bytes = serde_json::to_vec(listing).expect("our own values serialise");
        data::write_atomically(&path, |file| file.write_all(&bytes).at(&path))?;
        if revision.is_commit() {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision.as_str());
        data::write_atomically(&path, |file| file.write_all(listing.commit.as_bytes()).at(&path))
    }

    /// Where the head of a weight file is kept that was not fetched.
    pub fn header(&self, file: &Entry) -> PathBuf {
        self.folder.join("sealwright").join(format!("{}.header", file.digest))
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Is the file there, whole? A blob has its name only when it is.
    pub fn has(&self, commit: &str, file: &Entry) -> bool {
        self.snapshot(commit).join(&file.name).metadata().is_ok_and(|m| m.is_file() && m.len() == file.size)
    }

    /// Is its blob there?
    pub fn has_blob(&self, file: &Entry) -> bool {
        self.blob(file).metadata().is_ok_and(|m| m.is_file() && m.len() == file.size)
    }

    /// Where a blob is while it comes; other programs go on with it, too.
    pub fn incomplete(&self, file: &Entry) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.digest))
    }

    /// Gives a whole blob its name.
    pub fn finish(&self, file: &Entry) -> Result<()> {
        let (from, to) = (self.incomplete(file), self.blob(file));
        std::fs::rename(&from, &to).at(&to)?;
        data::sync_folder(&self.folder.join("blobs"))
    }

    /// Gives a commit's file its blob.
    pub fn link(&self, commit: &str, file: &Entry) -> Result<()> {
        let path = self.snapshot(commit).join(&file.name);
        let folder = path.parent().expect("it stands in the snapshot");
        std::fs::create_dir_all(folder).at(folder)?;
        if path.symlink_metadata().is_ok() {
            std::fs::remove_file(&path).at(&path)?;
        }
        if cfg!(unix) {
            let up = "../".repeat(2 + file.name.split('/').count() - 1);
            #[cfg(unix)]
            std::os::unix::fs::symlink(format!("{up}blobs/{}", file.digest), &path).at(&path)?;
            return Ok(());
        }
        std::fs::rename(self.blob(file), &path).at(&path)
    }

    /// Waits for other programs that fetch the same file; the lock goes with the value.
    pub fn lock(&self, file: &Entry) -> Result<File> {
        let blobs = self.folder.join("blobs");
        std::fs::create_dir_all(&blobs).at(&blobs)?;
        std::fs::create_dir_all(&self.locks).at(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", file.digest));
        let lock = File::options().create(true).truncate(false).write(true).open(&path).at(&path)?;
        lock.lock().at(&path)?;
        Ok(lock)
    }

    /// Is there room for what is still missing of these files?
    pub fn demand_room(&self, files: &[&Entry]) -> Result<()> {
        std::fs::create_dir_all(&self.folder).at(&self.folder)?;
        let here = |file: &&Entry| self.incomplete(file).metadata().map_or(0, |m| m.len());
        let missing: u64 = files.iter().map(|file| file.size.saturating_sub(here(file))).sum();
        match data::free_space(&self.folder)? {
            Some(free) if missing > free => Err(Error::new(
                Code::TooLarge,
                format!("{missing} bytes are missing, and {} has {free} free", self.folder.display()),
            )
            .with_hint("free some space, or name another cache with HF_HUB_CACHE")),
            _ => Ok(()),
        }
    }

    fn blob(&self, file: &Entry) -> PathBuf {
        self.folder.join("blobs").join(file.digest.to_string())
    }

    fn record(&self, commit: &str) -> PathBuf {
        self.folder.join("sealwright").join(format!("{commit}.json"))
    }
}
