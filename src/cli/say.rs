//! The only file that writes to a terminal. Data goes to stdout, words to stderr.
//!
//! The rules: a value stands after a colon; commands and paths in backticks; no full stop on one sentence;
//! a blank line before `hint:`; readable without colour; text that came from a file is shown with its
//! control and bidirectional characters escaped.

use sealwright::error::{AtPath as _, Error, Result};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};

/// How to speak: set once from the command line and the terminal.
#[derive(Clone, Copy)]
pub struct Say {
    json: bool,
    color: bool,
    silent: bool,
}

impl Say {
    /// `json`: reports and errors as JSON on stdout.
    pub fn new(json: bool) -> Self {
        let color = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal();
        Self { json, color, silent: false }
    }

    /// Was `--json` given?
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Text on stdout, as it is. A closed pipe (`| head`) ends it quietly.
    pub fn data(&self, text: &str) {
        if self.silent {
            return;
        }
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A report as JSON on stdout, for people and programs.
    pub fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).expect("our own values serialise");
        self.data(&(text + "\n"));
    }

    /// A line of words on stderr.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.silent {
            self.words(text.as_ref());
        }
    }

    /// What went wrong, and what to do.
    pub fn error(&self, error: &Error) {
        if self.json && !self.silent {
            self.json(&serde_json::json!({"error": {"code": error.code.name(), "message": error.to_string(), "hint": error.hint()}}));
            return;
        }
        self.words(&format!(
            "{} {}",
            self.paint("31", &format!("error[{}]:", error.code.name())),
            visible(&error.to_string())
        ));
        if let Some(hint) = error.hint() {
            self.words(&format!("\n{} {}", self.paint("36", "hint:"), visible(hint)));
        }
    }

    /// A word in colour, where colour is wanted.
    pub fn paint(&self, ansi: &str, text: &str) -> String {
        if self.color { format!("\x1b[{ansi}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A question on stderr, answered on stdin; where there is no terminal, the default is the answer.
    pub fn ask(&self, question: &str, default: &str) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return Ok(default.to_owned());
        }
        let mut err = std::io::stderr().lock();
        let mut line = String::new();
        write!(err, "{question} [{default}]: ")
            .and_then(|()| err.flush())
            .and_then(|()| std::io::stdin().read_line(&mut line))
            .at("the terminal".as_ref())?;
        let answer = line.trim();
        Ok(if answer.is_empty() { default } else { answer }.to_owned())
    }

    /// A question whose answer is not shown; `None` where there is no terminal.
    pub fn ask_secret(&self, question: &str) -> Result<Option<secrecy::SecretString>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{}: ", visible(question)).and_then(|()| err.flush());
        let answer = super::terminal::read_silently();
        let _ = writeln!(err);
        answer.map(Some)
    }

    fn words(&self, text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }
}

/// What takes long says how far it is.
#[cfg(any(feature = "ml", feature = "net"))]
impl Say {
    /// Something that is probably not meant.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.note(format!("{} {}", self.paint("33", "warning:"), text.as_ref()));
    }

    /// A bar on stderr, where there is a terminal.
    pub fn progress(&self, total: u64, template: &str) -> indicatif::ProgressBar {
        if self.json || self.silent || !std::io::stderr().is_terminal() {
            return indicatif::ProgressBar::hidden();
        }
        let bar = indicatif::ProgressBar::new(total);
        bar.set_style(indicatif::ProgressStyle::with_template(template).expect("our own template"));
        bar
    }
}

/// What only training and answering say.
#[cfg(feature = "ml")]
impl Say {
    /// Nothing but errors: another rank speaks.
    pub fn silent(&self) -> Self {
        Self { silent: true, ..*self }
    }

    /// Words of a model on stdout as they come; a terminal is not obeyed to.
    pub fn stream(&self, text: &str) {
        if std::io::stdout().is_terminal() { self.data(&visible(text)) } else { self.data(text) }
    }

    /// One line of JSON on stdout.
    pub fn json_line(&self, value: &impl Serialize) {
        let line = serde_json::to_string(value).expect("our own values serialise");
        self.data(&(line + "\n"));
    }
}

/// Text from a stranger: what a terminal would obey is shown instead.
pub fn visible(text: &str) -> String {
    let dangerous = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{200b}'..='\u{200d}')
    };
    text.chars().map(|c| if dangerous(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_terminal_is_not_obeyed() {
        assert_eq!(super::visible("a\x1b[31mb\u{202e}c\n"), "a\\u{1b}[31mb\\u{202e}c\n");
    }
}
