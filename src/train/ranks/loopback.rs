//! Ranks of one machine, over TCP on its loopback: the others connect to the first, which adds up and sends the sums.
//!
//! They exchange gradients of private data, in the clear: nothing here listens at or connects to any address but this
//! machine's own. Another user's process can connect there, too, so both sides show that they hold the token of the
//! training before anything else is said; the token itself is never sent.
//!
//! Meeting has its limits of time. Once met, ranks wait as long as the others live: the first one's evaluation takes the
//! time that it takes, and the system closes the connections of a process that ends.

use crate::data;
use crate::error::{Code, Error, Result};
use bytemuck::Pod;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// All ranks must come within this time.
const MEETING: Duration = Duration::from_secs(120);
/// Who connects must show the token within this time.
const GREETING: Duration = Duration::from_secs(10);
/// A rank that ends waits so long for the others to hear why.
const FAREWELL: Duration = Duration::from_secs(5);
/// Between two looks whether somebody is there.
const LOOK: Duration = Duration::from_millis(20);
/// No error is longer. Numbers have the length that is due, and nothing is set aside for any other.
const MAX_WORDS: usize = 64 << 10;

const NONCE: usize = 32;
/// Rank and count, four bytes each, then a nonce.
const HELLO: usize = 8 + NONCE;
/// HMAC-SHA256's.
const TAG: usize = 32;

/// The connections of one rank.
pub struct Loopback {
    /// The first rank's: all others, in their order; another's: the first.
    links: Vec<Link>,
    first: bool,
    /// Whether the first rank said that the training is over, and why.
    told: AtomicBool,
}

struct Link {
    /// Who is at its other end.
    rank: usize,
    stream: TcpStream,
}

/// Why a rank ended, as the others hear it.
#[derive(Serialize, Deserialize)]
struct Words {
    code: String,
    message: String,
    hint: Option<String>,
}

/// What a message is: its first four bytes; its length follows.
const NUMBERS: u32 = 0;
const WORDS: u32 = 1;

/// A port of this machine's that nobody uses now.
pub fn free_port() -> Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|e| ranks(format!("this machine gives no port: {e}")))
}

fn ranks(message: impl Into<String>) -> Error {
    Error::new(Code::Ranks, message)
}

impl Loopback {
    /// Meets the others at a port of this machine's.
    ///
    /// # Errors
    /// `Ranks` where they do not come in time or do not hold the token.
    pub fn join(rank: usize, count: usize, port: u16, token: &str) -> Result<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
        let links = match rank {
            0 => host(count, port, &key, MEETING)?,
            _ => vec![Link { rank: 0, stream: visit(rank, count, port, &key, MEETING)? }],
        };
        Ok(Self { links, first: rank == 0, told: AtomicBool::new(false) })
    }

    /// Each number becomes the sum over all ranks, in their order.
    ///
    /// # Errors
    /// `Ranks` where one is gone; what another rank said when it left.
    pub fn add_up<T: Pod + Default + AddAssign>(&self, values: &mut [T]) -> Result<()> {
        if !self.first {
            self.send(&self.links[0], values)?;
            return self.receive(&self.links[0], values);
        }
        let mut theirs = vec![T::default(); values.len()];
        for value in values.iter_mut() {
            // 0 + -0 is 0, as it is over MPI
            let own = std::mem::take(value);
            *value += own;
        }
        for link in &self.links {
            self.receive(link, &mut theirs)?;
            values.iter_mut().zip(&theirs).for_each(|(sum, value)| *sum += *value);
        }
        self.links.iter().try_for_each(|link| self.send(link, values))
    }

    fn send<T: Pod>(&self, link: &Link, values: &[T]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        // one that left has said why before it closed the connection
        link.write(NUMBERS, bytes).map_err(|gone| match link.read_head() {
            Ok((WORDS, length)) => self.words(link, length),
            _ => link.gone(&gone),
        })
    }

    fn receive<T: Pod>(&self, link: &Link, values: &mut [T]) -> Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        match link.read_head().map_err(|e| link.gone(&e))? {
            (NUMBERS, length) if length == bytes.len() => (&link.stream).read_exact(bytes).map_err(|e| link.gone(&e)),
            (WORDS, length) => Err(self.words(link, length)),
            (_, length) => Err(ranks(format!(
                "rank {} sends {length} bytes where {} are due: it trains something else",
                link.rank,
                bytes.len()
            ))
            .with_hint("all ranks of a training read the same product file")),
        }
    }

    /// What a rank says when it leaves.
    fn words(&self, link: &Link, length: usize) -> Error {
        let Some(Words { code, message, hint }) = link.read_words(length) else {
            return link.gone(&io::Error::from(ErrorKind::InvalidData));
        };
        self.told.store(!self.first, Ordering::Relaxed);
        let code = Code::ALL.iter().find(|known| known.name() == code).copied().unwrap_or(Code::Ranks);
        let error = Error::new(code, format!("rank {}: {message}", link.rank));
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// Tells the others why this rank ends, and waits a little until they have heard it. True where the first rank knows.
    pub fn leave(&self, why: &Error) -> bool {
        // after Ctrl-C all others stop of themselves, the first once it has saved
        if self.told.load(Ordering::Relaxed) || (!self.first && why.code == Code::Interrupted) {
            return true;
        }
        let cut = |text: &str| text.chars().take(MAX_WORDS / 16).collect::<String>();
        let words = Words { code: why.code.name().into(), message: cut(&why.to_string()), hint: why.hint().map(cut) };
        let words = serde_json::to_vec(&words).expect("our own values serialise");
        for link in &self.links {
            let _ = link.write(WORDS, &words); // who is gone needs no words
            let _ = link.stream.shutdown(Shutdown::Write);
        }
        let until = Instant::now() + FAREWELL;
        let heard = self.links.iter().all(|link| link.drained(until));
        // where the first rank is gone, its closed connection says nothing of what it heard
        heard && (self.first || why.code != Code::Ranks)
    }
}

impl Link {
    fn write(&self, kind: u32, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
        (&self.stream).write_all(&[kind.to_le_bytes(), length.to_le_bytes()].concat())?;
        (&self.stream).write_all(bytes)
    }

    fn read_head(&self) -> io::Result<(u32, usize)> {
        let mut head = [0; 8];
        (&self.stream).read_exact(&mut head)?;
        let [kind, length] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        Ok((kind, length as usize))
    }

    fn read_words(&self, length: usize) -> Option<Words> {
        let mut bytes = vec![0; Some(length).filter(|length| *length <= MAX_WORDS)?];
        (&self.stream).read_exact(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn gone(&self, why: &io::Error) -> Error {
        let ended = matches!(
            why.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
        );
        let why = if ended { "it ended without a word".to_owned() } else { why.to_string() };
        ranks(format!("rank {} is gone: {why}", self.rank)).with_hint(
            "look at what it said and at the machine's memory; the same command goes on from the last checkpoint",
        )
    }

    /// Whether the other side closes the connection in time.
    fn drained(&self, until: Instant) -> bool {
        let mut buffer = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            match (&self.stream).read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::ConnectionReset,
            }
        }
    }
}

/// The first rank lets the others in.
fn host(count: usize, port: u16, key: &hmac::Key, limit: Duration) -> Result<Vec<Link>> {
    let begun = Instant::now();
    let failed = |e: io::Error| {
        ranks(format!("ranks cannot meet at 127.0.0.1:{port}: {e}"))
            .with_hint("name a free port in MASTER_PORT; torchrun may hold the one it names: `--gpus N` needs neither")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let mut links: Vec<Option<Link>> = (1..count).map(|_| None).collect();
    let mut strangers = 0;
    while let Some(missing) = links.iter().position(Option::is_none) {
        match listener.accept() {
            // a stranger is let go, and the ranks are waited for
            Ok((stream, _)) => match receive_guest(&stream, count, key) {
                Some(rank) if links[rank - 1].is_none() => links[rank - 1] = Some(Link { rank, stream }),
                _ => strangers += 1,
            },
            Err(e) if e.kind() == ErrorKind::WouldBlock && begun.elapsed() < limit => std::thread::sleep(LOOK),
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(failed(e)),
            Err(_) => {
                let who =
                    if strangers > 0 { format!("; {strangers} without the token were refused") } else { String::new() };
                let (rank, seconds) = (missing + 1, limit.as_secs());
                return Err(ranks(format!("rank {rank} of {count} did not come within {seconds} s{who}")).with_hint(
                    "start all ranks with the same WORLD_SIZE, MASTER_PORT and SEALWRIGHT_RANKS_TOKEN, and a RANK each",
                ));
            }
        }
    }
    Ok(links.into_iter().flatten().collect())
}

/// The rank that this is, if it holds the token.
fn receive_guest(mut stream: &TcpStream, count: usize, key: &hmac::Key) -> Option<usize> {
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(GREETING)).ok()?;
    stream.set_write_timeout(Some(GREETING)).ok()?;
    let (mut hello, mut nonce, mut tag) = ([0; HELLO], [0; NONCE], [0; TAG]);
    stream.read_exact(&mut hello).ok()?;
    data::random(&mut nonce).ok()?;
    stream.write_all(&[&nonce[..], shown(key, Side::First, &hello, &nonce).as_ref()].concat()).ok()?;
    stream.read_exact(&mut tag).ok()?;
    hmac::verify(key, &said(Side::Other, &hello, &nonce), &tag).ok()?;
    stream.set_read_timeout(None).ok()?;
    stream.set_write_timeout(None).ok()?;
    let [rank, of] =
        [0, 4].map(|at| u32::from_le_bytes([hello[at], hello[at + 1], hello[at + 2], hello[at + 3]]) as usize);
    (of == count && (1..count).contains(&rank)).then_some(rank)
}

/// Another rank comes to the first.
fn visit(rank: usize, count: usize, port: u16, key: &hmac::Key, limit: Duration) -> Result<TcpStream> {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(_) if begun.elapsed() < limit => std::thread::sleep(LOOK),
            Err(e) => {
                let seconds = limit.as_secs();
                return Err(ranks(format!("the first rank was not at 127.0.0.1:{port} within {seconds} s: {e}"))
                    .with_hint("start the process with RANK=0, with the same MASTER_PORT"));
            }
        }
    };
    let mut nonce = [0; NONCE];
    data::random(&mut nonce)?;
    let [rank_of, count_of] = [rank, count].map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
    let hello = [&rank_of[..], &count_of, &nonce].concat();
    let mut answer = [0; NONCE + TAG];
    let greeted = stream
        .set_nodelay(true)
        // the first rank greets one after the other
        .and_then(|()| stream.set_read_timeout(Some(limit)))
        .and_then(|()| stream.write_all(&hello))
        .and_then(|()| stream.read_exact(&mut answer));
    greeted.map_err(|e| ranks(format!("who is at 127.0.0.1:{port} does not greet rank {rank}: {e}")))?;
    let (nonce, tag) = answer.split_at(NONCE);
    hmac::verify(key, &said(Side::First, &hello, nonce), tag).map_err(|_| {
        ranks(format!("who is at 127.0.0.1:{port} does not hold the token of rank {rank}"))
            .with_hint("start all ranks with the same program and the same SEALWRIGHT_RANKS_TOKEN")
    })?;
    let shown =
        stream.write_all(shown(key, Side::Other, &hello, nonce).as_ref()).and_then(|()| stream.set_read_timeout(None));
    shown.map_err(|e| ranks(format!("the first rank lets rank {rank} go: {e}")))?;
    Ok(stream)
}

#[derive(Clone, Copy)]
enum Side {
    First,
    Other,
}

/// What a side shows that it can sign: which of both it is, and both nonces, so that no answer serves twice.
fn said(side: Side, hello: &[u8], nonce: &[u8]) -> Vec<u8> {
    let side = match side {
        Side::First => "first",
        Side::Other => "other",
    };
    [concat!("sealwright ", env!("CARGO_PKG_VERSION"), " ranks ").as_bytes(), side.as_bytes(), hello, nonce].concat()
}

fn shown(key: &hmac::Key, side: Side, hello: &[u8], nonce: &[u8]) -> hmac::Tag {
    hmac::sign(key, &said(side, hello, nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a token that all ranks of this test hold";

    /// Runs so many ranks as threads.
    fn together<T: Send>(count: usize, work: impl Fn(usize, Loopback) -> T + Sync) -> Vec<T> {
        let (port, work) = (free_port().unwrap(), &work);
        std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..count)
                .map(|rank| scope.spawn(move || work(rank, Loopback::join(rank, count, port, TOKEN).unwrap())))
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn sums_are_in_the_order_of_the_ranks_and_the_same_on_all() {
        // 1e8 + 1 - 1e8 is 0 in this order, and 1 in another
        let of = |rank: usize| [[1e8f32, -0.0], [1.0, -0.0], [-1e8, -0.0]][rank];
        let sums = together(3, |rank, others| {
            let mut values = of(rank);
            others.add_up(&mut values).unwrap();
            let mut count = [rank as f64 + 0.5];
            others.add_up(&mut count).unwrap();
            (values.map(f32::to_bits), count)
        });
        assert_eq!(sums, vec![([0.0f32.to_bits(); 2], [4.5]); 3]);
    }

    #[test]
    fn why_a_rank_leaves_all_others_hear() {
        let ends = together(3, |rank, others| {
            let outcome = match rank {
                1 => Err(Error::new(Code::OutOfMemory, "too small").with_hint("less")),
                _ => others.add_up(&mut [1.0f32; 1000]),
            };
            let error = outcome.unwrap_err();
            (others.leave(&error), error.code, error.to_string(), error.hint().map(String::from))
        });
        let said: Vec<_> = ends.iter().map(|end| end.2.as_str()).collect();
        assert_eq!(said, ["rank 1: too small", "too small", "rank 0: rank 1: too small"]);
        assert!(ends.iter().all(|end| end.1 == Code::OutOfMemory && end.3.as_deref() == Some("less")));
        assert!(ends[1].0 && ends[2].0, "the first rank knows, and says it");
    }

    #[test]
    fn a_rank_that_is_gone_is_named() {
        let ends = together(3, |rank, others| (rank != 2).then(|| others.add_up(&mut [1.0f32]).unwrap_err()));
        let first = ends[0].as_ref().unwrap();
        assert_eq!(first.code, Code::Ranks);
        assert!(first.to_string().contains("rank 2 is gone: it ended without a word"), "{first}");
        assert!(first.hint().is_some());
        let left =
            together(2, |rank, others| (rank == 1).then(|| others.leave(&others.add_up(&mut [1.0f32]).unwrap_err())));
        assert_eq!(left[1], Some(false), "nobody else says that the first is gone");
    }

    #[test]
    fn who_trains_something_else_is_told() {
        let ends = together(2, |rank, others| others.add_up(&mut vec![1.0f32; 5 - rank]).unwrap_err());
        assert!(ends[0].to_string().contains("16 bytes where 20 are due"), "{}", ends[0]);
    }

    #[test]
    fn strangers_are_let_go_and_the_ranks_still_meet() {
        let (port, key) = (free_port().unwrap(), |token: &str| hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes()));
        let limit = Duration::from_secs(20);
        std::thread::scope(|scope| {
            let host = scope.spawn(move || host(2, port, &key(TOKEN), limit));
            let refused = visit(1, 2, port, &key("another token"), limit).unwrap_err();
            assert!(refused.to_string().contains("does not hold the token"), "{refused}");
            // one that says nothing, one that answers with what it heard, and one that has no place
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
            let mut echo = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let mut answer = [0; NONCE + TAG];
            echo.write_all(&[1, 0, 0, 0, 2, 0, 0, 0]).and_then(|()| echo.write_all(&[0; NONCE])).unwrap();
            echo.read_exact(&mut answer).unwrap();
            echo.write_all(&answer[NONCE..]).unwrap();
            assert_eq!(echo.read(&mut [0; 1]).unwrap_or(0), 0);
            let _without_a_place = visit(2, 2, port, &key(TOKEN), limit).unwrap();
            let _guest = visit(1, 2, port, &key(TOKEN), limit).unwrap();
            let links = host.join().unwrap().unwrap();
            assert_eq!(links.iter().map(|link| link.rank).collect::<Vec<_>>(), [1]);
        });
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let (port, key) = (free_port().unwrap(), hmac::Key::new(hmac::HMAC_SHA256, TOKEN.as_bytes()));
        let error = host(2, port, &key, Duration::from_millis(50)).err().unwrap();
        assert!(error.to_string().contains("rank 1 of 2 did not come"), "{error}");
        let error = visit(1, 2, port, &key, Duration::from_millis(50)).err().unwrap();
        assert!(error.to_string().contains("first rank was not at"), "{error}");
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(host(2, port, &key, Duration::from_millis(50)).err().unwrap().hint().unwrap().contains("MASTER_PORT"));
    }
}
