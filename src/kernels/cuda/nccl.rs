//! Numbers that the cards of several processes add up without their hosts: gathered by NCCL, summed by our own kernel in
//! the order of the ranks, which NCCL's own sums do not promise.
//!
//! Bound here and not by cudarc, which asks for `libnccl.so` and so does not find the wheel's `libnccl.so.2`.

use super::card::{Buffer, Card};
use super::library::{Library, Probe};
use crate::error::{Code, Error, Result};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

/// f32 that are gathered at once: a rank's share of the room for them is 16 MiB.
const PIECE: usize = 4 << 20;
/// `ncclFloat32` of nccl.h.
const FLOAT32: c_int = 7;

/// `ncclUniqueId`: what the processes of one communicator know each other by.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; CardRanks::ID]);

// SAFETY: to be called as nccl.h declares them, which has been so since NCCL 2.0.
type GetUniqueId = unsafe extern "C" fn(*mut UniqueId) -> c_int;
type CommInitRank = unsafe extern "C" fn(*mut *mut c_void, c_int, UniqueId, c_int) -> c_int;
type AllGather = unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, *mut c_void, *mut c_void) -> c_int;
type CommDestroy = unsafe extern "C" fn(*mut c_void) -> c_int;
type GetErrorString = unsafe extern "C" fn(c_int) -> *const c_char;

/// A card among those of other processes.
pub struct CardRanks {
    card: Card,
    count: usize,
    communicator: *mut c_void,
    /// f32 `[count, PIECE]`
    all: Buffer,
    nccl: libloading::Library,
}

impl CardRanks {
    /// Bytes of what the processes know each other by.
    pub const ID: usize = 128;

    /// Whether this process can join others.
    ///
    /// # Errors
    /// `NoDevice` with what is missing and where it was looked for.
    pub fn ready() -> Result<()> {
        Probe::together().need(&[Library::Nccl])
    }

    /// A new id, made by one process for all.
    ///
    /// # Errors
    /// `NoDevice` where NCCL is missing or fails.
    pub fn id() -> Result<[u8; Self::ID]> {
        let nccl = Probe::together().library(Library::Nccl)?;
        let mut id = UniqueId([0; Self::ID]);
        // SAFETY: `id` is as large as NCCL writes.
        let code = unsafe { function::<GetUniqueId>(&nccl, "ncclGetUniqueId")?(&mut id) };
        done(&nccl, "an id of the ranks", code)?;
        Ok(id.0)
    }

    /// Joins the others that were given this id; all of them at once, each with a card of its own.
    ///
    /// # Errors
    /// `NoDevice` where NCCL is missing or fails, `OutOfMemory`.
    pub fn join(card: &Card, id: [u8; Self::ID], rank: usize, count: usize) -> Result<Self> {
        let nccl = Probe::together().library(Library::Nccl)?;
        let whole = |n: usize| c_int::try_from(n).map_err(|_| Error::new(Code::Usage, format!("{n} ranks")));
        let (rank, of) = (whole(rank)?, whole(count)?);
        // room first: what fails here must not leave the others waiting inside NCCL
        let all = card.alloc(count * PIECE * size_of::<f32>())?;
        let driver = card.driver().ok_or_else(|| Error::new(Code::NoDevice, "NCCL joins cards, and this is none"))?;
        driver.current()?;
        let mut communicator = null_mut();
        // SAFETY: the card's context is current, and NCCL writes one pointer.
        let code =
            unsafe { function::<CommInitRank>(&nccl, "ncclCommInitRank")?(&mut communicator, of, UniqueId(id), rank) };
        done(&nccl, "the cards of the ranks do not meet", code)?;
        Ok(Self { card: card.clone(), count, communicator, all, nccl })
    }

    /// Each of n f32 becomes the sum over all cards, in the order of the ranks.
    ///
    /// # Errors
    /// `NoDevice` where NCCL or the card fails.
    pub fn add_up(&self, values: &Buffer, n: usize) -> Result<()> {
        for from in (0..n).step_by(PIECE) {
            let length = PIECE.min(n - from);
            let piece = values.slice(from * size_of::<f32>(), length * size_of::<f32>());
            self.all_gather(&piece, length)?;
            self.card.add_ranks(&self.all, self.count, length, &piece)?;
        }
        Ok(())
    }

    fn all_gather(&self, piece: &Buffer, n: usize) -> Result<()> {
        let Some(driver) = self.card.driver() else { return Ok(()) };
        driver.current()?;
        let (from, to) = (piece.at() as *const c_void, self.all.at() as *mut c_void);
        // SAFETY: `piece` holds n numbers and `all` has room for `count` times as many; the stream keeps the order with
        // what was launched before and is launched after.
        let code = unsafe {
            let gather = function::<AllGather>(&self.nccl, "ncclAllGather")?;
            gather(from, to, n, FLOAT32, self.communicator, driver.stream().cast())
        };
        done(&self.nccl, "gathering between the cards", code)
    }
}

impl Drop for CardRanks {
    fn drop(&mut self) {
        // a card that failed has nothing left to wait for, and NCCL might wait for ever: the process ends anyway
        if self.card.wait().is_ok()
            && let Ok(destroy) = function::<CommDestroy>(&self.nccl, "ncclCommDestroy")
        {
            // SAFETY: made by `join`, and used by nobody else.
            unsafe { destroy(self.communicator) };
        }
    }
}

fn function<'l, F>(nccl: &'l libloading::Library, name: &str) -> Result<libloading::Symbol<'l, F>> {
    // SAFETY: each name is asked for with its own type above; the probe has found them all.
    unsafe { nccl.get::<F>(name.as_bytes()) }.map_err(|e| Error::new(Code::NoDevice, format!("{name}: {e}")))
}

fn done(nccl: &libloading::Library, what: &str, code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    let explained = function::<GetErrorString>(nccl, "ncclGetErrorString").map(|explain| {
        // SAFETY: it answers any number with a text that lives as long as the library.
        let text = unsafe { explain(code) };
        // SAFETY: as above; a null is not read.
        if text.is_null() { "unknown".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
    });
    let why = explained.unwrap_or_else(|_| format!("error {code}"));
    Err(Error::new(Code::NoDevice, format!("{what}: NCCL says: {why}"))
        .with_hint("NCCL_DEBUG=WARN makes it say more; each rank needs a card of its own"))
}
