//! How far a fetch or a push is: a bar with the time left on a terminal, a line a file elsewhere.

use super::say::{Say, visible};
use sealwright::net::Event;

const BAR: &str = "{msg}  {bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
/// Smaller files come and go without a word where there is no terminal.
const WORTH_A_LINE: u64 = 16 << 20;

/// Turns events into words.
pub struct Progress<'a> {
    say: &'a Say,
    bar: indicatif::ProgressBar,
}

impl<'a> Progress<'a> {
    /// Nothing is shown yet.
    pub fn new(say: &'a Say) -> Self {
        Self { say, bar: indicatif::ProgressBar::hidden() }
    }

    /// Something happened.
    pub fn on(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { name, size, have } => {
                self.bar = self.say.progress(size, BAR);
                self.bar.set_message(visible(name));
                self.bar.set_position(have);
                self.bar.reset_eta();
                if self.bar.is_hidden() && size >= WORTH_A_LINE && !self.say.is_json() {
                    let had = if have > 0 {
                        format!(", {} of them here", indicatif::HumanBytes(have))
                    } else {
                        String::new()
                    };
                    self.say.note(visible(&format!("{name}: {}{had}", indicatif::HumanBytes(size))));
                }
            }
            Event::Bytes(bytes) => self.bar.inc(bytes),
            Event::Again(have) => {
                self.bar.set_position(have);
                if !self.say.is_json() {
                    let from = indicatif::HumanBytes(have);
                    self.bar.suspend(|| self.say.note(format!("the connection was lost: going on after {from}")));
                }
            }
            Event::End => self.bar.finish_and_clear(),
        }
    }
}
