//! A card: memory, launches and multiplies. In tests the same calls run on a CPU (`emulator`).

use super::driver::Driver;
#[cfg(test)]
use super::emulator::Emulator;
use super::launch::{Argument, Launch, Product};
use super::source::Unit;
use crate::error::Result;
use std::sync::Arc;

/// Who does the work.
enum Engine {
    Driver(Driver),
    #[cfg(test)]
    Emulator(Emulator),
}

macro_rules! on {
    ($engine:expr, $name:ident => $call:expr) => {
        match $engine {
            Engine::Driver($name) => $call,
            #[cfg(test)]
            Engine::Emulator($name) => $call,
        }
    };
}

/// One card that this process uses.
#[derive(Clone)]
pub struct Card {
    engine: Arc<Engine>,
}

/// One allocation; freed when the last buffer in it is dropped.
struct Memory {
    engine: Arc<Engine>,
    at: u64,
    bytes: usize,
}

/// Numbers on a card: an allocation, or a part of one.
#[derive(Clone)]
pub struct Buffer {
    memory: Arc<Memory>,
    at: u64,
    bytes: usize,
}

impl Card {
    /// Card number `ordinal` of this machine.
    ///
    /// # Errors
    /// `NoDevice`, with what is missing.
    pub fn open(ordinal: usize) -> Result<Self> {
        Ok(Self { engine: Arc::new(Engine::Driver(Driver::open(ordinal)?)) })
    }

    /// How many cards this machine has.
    ///
    /// # Errors
    /// `NoDevice`, with what is missing.
    pub fn count() -> Result<usize> {
        Driver::count()
    }

    /// A CPU that stands in for a card, its threads in the order of that number ([`Emulator::new`]).
    #[cfg(test)]
    pub(crate) fn emulated(order: u32) -> Option<Self> {
        Some(Self { engine: Arc::new(Engine::Emulator(Emulator::new(order)?)) })
    }

    /// How often a stand-in was asked for memory.
    #[cfg(test)]
    pub(crate) fn allocations(&self) -> usize {
        match &*self.engine {
            Engine::Driver(_) => 0,
            Engine::Emulator(emulator) => emulator.allocations(),
        }
    }

    /// Every card that tests can ask: stand-ins with their threads in these orders, and the machine's own, which must be
    /// there where `SEALWRIGHT_NEED_CARD` is set. None where there is neither a C++ compiler nor a card.
    #[cfg(test)]
    pub(crate) fn at_hand(orders: &[u32]) -> Vec<Self> {
        let mut cards: Vec<Self> = orders.iter().filter_map(|order| Self::emulated(*order)).collect();
        match std::env::var_os("SEALWRIGHT_NEED_CARD") {
            Some(_) => cards.push(Self::open(0).unwrap()),
            None => cards.extend(Self::open(0)),
        }
        cards
    }

    /// Its name, as the driver has it.
    pub fn name(&self) -> &str {
        on!(&*self.engine, e => e.name())
    }

    /// Bytes free and in all.
    ///
    /// # Errors
    /// `NoDevice` when the card fails.
    pub fn memory(&self) -> Result<(u64, u64)> {
        on!(&*self.engine, e => e.memory())
    }

    /// Room for so many bytes, their contents undefined.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer> {
        let bytes = bytes.max(1);
        let at = on!(&*self.engine, e => e.alloc(bytes))?;
        Ok(Buffer { memory: Arc::new(Memory { engine: self.engine.clone(), at, bytes }), at, bytes })
    }

    /// Bytes of this machine's, copied.
    ///
    /// # Errors
    /// As [`Card::alloc`].
    pub fn upload(&self, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.alloc(bytes.len())?;
        self.write(&buffer, bytes)?;
        Ok(buffer)
    }

    /// Copies bytes to the beginning of a buffer.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn write(&self, to: &Buffer, bytes: &[u8]) -> Result<()> {
        assert!(bytes.len() <= to.bytes, "{} bytes into {}", bytes.len(), to.bytes);
        on!(&*self.engine, e => e.write(to.at, bytes))
    }

    /// Copies the beginning of a buffer here, once all that was launched is done.
    ///
    /// # Panics
    /// When it is shorter than `out`.
    pub fn read(&self, from: &Buffer, out: &mut [u8]) -> Result<()> {
        assert!(out.len() <= from.bytes, "{} bytes out of {}", out.len(), from.bytes);
        on!(&*self.engine, e => e.read(from.at, out))
    }

    /// Copies the beginning of a buffer to another, as long as that is.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn copy(&self, from: &Buffer, to: &Buffer) -> Result<()> {
        assert!(to.bytes <= from.bytes, "{} bytes out of {}", to.bytes, from.bytes);
        on!(&*self.engine, e => e.copy(from.at, to.at, to.bytes))
    }

    /// Fills a buffer with zeros.
    pub fn clear(&self, buffer: &Buffer) -> Result<()> {
        on!(&*self.engine, e => e.clear(buffer.at, buffer.bytes))
    }

    /// Waits until all that was launched is done.
    ///
    /// # Errors
    /// `NoDevice` where something of it failed.
    pub fn wait(&self) -> Result<()> {
        on!(&*self.engine, e => e.wait())
    }

    /// Compiles and loads kernels before they are first asked for, so that what is missing is said before anything is done.
    ///
    /// # Errors
    /// `NoDevice` where there is neither a compiler nor code that one made.
    pub fn prepare(&self, units: &[Unit]) -> Result<()> {
        units.iter().try_for_each(|unit| on!(&*self.engine, e => e.prepare(*unit)))
    }

    /// The driver's card; none where a CPU stands in for one.
    pub(super) fn driver(&self) -> Option<&Driver> {
        match &*self.engine {
            Engine::Driver(driver) => Some(driver),
            #[cfg(test)]
            Engine::Emulator(_) => None,
        }
    }

    /// Starts a kernel. Its arguments must be those of the source, and what they point at as long as it says: `ops` alone
    /// calls this, and checks both.
    pub(super) fn launch(&self, unit: Unit, kernel: &str, launch: Launch, arguments: &[Argument]) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        on!(&*self.engine, e => e.launch(unit, kernel, launch, arguments))
    }

    /// Starts a multiply; `ops` checks the shapes.
    pub(super) fn multiply(&self, product: Product) -> Result<()> {
        if product.rows == 0 || product.cols == 0 {
            return Ok(());
        }
        on!(&*self.engine, e => e.multiply(product))
    }
}

impl Buffer {
    /// Where it begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it, which keeps the whole alive.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn slice(&self, from: usize, bytes: usize) -> Self {
        let end = from.checked_add(bytes).filter(|end| *end <= self.bytes);
        assert!(end.is_some(), "{bytes} bytes from {from} on of a buffer of {}", self.bytes);
        Self { memory: self.memory.clone(), at: self.at + from as u64, bytes }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        on!(&*self.engine, e => e.free(self.at, self.bytes));
    }
}
