//! What a name or a few words tell: files that are run by their names, and code that is named in texts of any format.

use super::source::Window;
use super::{Active, Found};
use regex::bytes::Regex;
use std::io;
use std::sync::LazyLock;

/// Names that Python imports.
const PYTHON: [&str; 5] = ["py", "pyc", "pyo", "pyw", "pyx"];
/// Names that a shell or another program runs.
const SCRIPTS: [&str; 17] = [
    "bash", "bat", "cmd", "command", "fish", "hta", "ipynb", "js", "lua", "mjs", "pl", "ps1", "psm1", "rb", "sh",
    "vbs", "zsh",
];

/// Files that are longer are searched where they are HDF5, in which a Keras model keeps its config anywhere.
const MAX_SEARCHED: u64 = 64 << 20;
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Bytes that are searched at a time, and how many of them once more with what follows.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 256;

/// Words without which none of the patterns can match: looked for first, all at once.
const NEEDED: &str =
    r"(?-u)class_name|!!python/|tag:yaml\.org,2002:python/|_target_|PyFunc|ReadFile|WriteFile|\x07py_func";

/// What each pattern tells.
const PATTERNS: [(&str, Active, &str); 5] = [
    (r#"(?-u)"class_name"\s{0,9}:\s{0,9}"Lambda""#, Active::KerasCode, "a Lambda layer"),
    (r"(?-u)!!python/|tag:yaml\.org,2002:python/", Active::ConfigCode, "a YAML tag that makes a Python object"),
    (r#"(?m-u)^[ \t-]{0,99}["']?_target_["']?\s{0,9}:"#, Active::ConfigCode, "`_target_`"),
    (
        r#"(?-u)\bop\s{0,9}:\s{0,9}["'](PyFunc|PyFuncStateless|EagerPyFunc|ReadFile|WriteFile)["']"#,
        Active::CustomOp,
        "a graph as text with an operator that calls Python or touches files",
    ),
    (r"(?s-u)\x07py_func", Active::CustomOp, "PaddlePaddle's py_func, which calls Python"),
];

static SEARCHES: LazyLock<Vec<(Regex, Active, &str)>> = LazyLock::new(|| {
    let compiled =
        |(pattern, kind, why): (&str, Active, &'static str)| (Regex::new(pattern).expect("our own"), kind, why);
    PATTERNS.map(compiled).into()
});

static NEEDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(NEEDED).expect("our own"));

/// By the name alone: it is by it that such a file is run.
pub fn name(found: &mut Found, name: &str) {
    let last = name.rsplit(['/', '!']).next().unwrap_or(name).to_ascii_lowercase();
    let Some((_, end)) = last.rsplit_once('.') else { return };
    if PYTHON.contains(&end) {
        found.add(Active::Python, name, "by its name");
    }
    if SCRIPTS.contains(&end) {
        found.add(Active::Script, name, "by its name");
    }
}

/// Words in a text or between a format's bytes.
pub fn look(found: &mut Found, name: &str, head: &[u8], window: &mut Window<'_>) -> io::Result<()> {
    if window.length > MAX_SEARCHED && !head.starts_with(HDF5) {
        return Ok(());
    }
    let mut at = 0;
    while at < window.length {
        let piece = window.read_at(at, PIECE + OVERLAP)?;
        at += PIECE as u64;
        if !NEEDS.is_match(&piece) {
            continue;
        }
        for (regex, kind, why) in SEARCHES.iter() {
            if regex.is_match(&piece) {
                found.add(*kind, name, why);
            }
        }
    }
    Ok(())
}
